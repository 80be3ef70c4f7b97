"""Text becomes speech that the nets can follow; what cannot be spoken is told in a sentence."""

import os
import sys

import numpy as np
import pytest
import random_nets

from atvg_jax import cli
from atvg_jax.generate import demo, text_to_speech
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import audio, video_reader


@pytest.fixture
def voices():
  pytest.importorskip('espeakng_loader', reason='the extra tts is not installed')


def test_speech_has_the_length_of_its_words_and_no_clipping(voices):
  slow, fast = (text_to_speech.speak('One picture and a recording.', speed=speed) for speed in (90, 300))
  assert slow.dtype == np.float32 and slow.ndim == 1
  assert len(slow) > 1.8 * len(fast) > 1.8 * 0.3 * features.SAMPLE_RATE
  assert 0.1 < np.abs(slow).max() < 0.99


def test_voices_differ_and_markup_is_only_text(voices):
  lengths = {voice: len(text_to_speech.speak('Guten Morgen', voice)) for voice in ('de', 'en-gb', 'EN-US+f3')}
  assert len(set(lengths.values())) == 3
  assert len(text_to_speech.speak('a <break time="9s"/> b')) < 6 * features.SAMPLE_RATE


def test_a_file_holds_what_was_spoken(voices, tmp_path):
  samples = text_to_speech.speak('Hello.')
  text_to_speech.save(samples, str(tmp_path / 'a.wav'))
  np.testing.assert_allclose(audio.read_audio(tmp_path / 'a.wav'), samples, atol=1e-4)


@pytest.mark.parametrize(
  'arguments, reason',
  [
    (['  '], 'the text is empty'),
    (['a' * 20_001], '20001 characters'),
    (['...'], 'can pronounce'),
    (['\0'], 'can pronounce'),
    (['hi', '--voice', 'xx'], 'languages, such as'),
    (['hi', '--voice', '../en'], 'is unknown'),
    (['hi', '--voice', 'en-gb+../f3'], 'behind the +'),
    (['hi', '--speed', '5'], '80 to 450'),
  ],
)
def test_what_cannot_be_spoken_is_told(voices, tmp_path, capsys, arguments, reason):
  out = str(tmp_path / 'out.mp4')
  assert cli.main(['say', *arguments, '--image', demo.portrait(), '--out', out]) == 2
  error = capsys.readouterr().err
  assert error.startswith('atvg: ') and reason in error and len(error.splitlines()) == 1
  assert not os.listdir(tmp_path)


def test_a_missing_extra_is_told(monkeypatch):
  monkeypatch.setitem(sys.modules, 'espeakng_loader', None)
  text_to_speech._library.cache_clear()
  with pytest.raises(InputError, match='extra tts'):
    text_to_speech.speak('hello')
  text_to_speech._library.cache_clear()


def test_a_text_becomes_a_video(voices, tmp_path, capsys):
  nets = random_nets.save(tmp_path)
  out = str(tmp_path / 'out.mp4')
  assert cli.main(['say', 'Yes.', '--image', demo.portrait(), '--out', out, '--weights', *nets]) == 0
  assert out in capsys.readouterr().out
  clip = video_reader.read_video(out)
  assert len(clip.frames) == audio.num_frames(text_to_speech.speak('Yes.')) and np.abs(clip.samples).max() > 0.1
