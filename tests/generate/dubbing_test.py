"""A video says something else: its frames stay but for the mouth, shot by shot; its clock and length are kept."""

import wave

import drawn_clips
import numpy as np
import pytest
import random_nets
import stamped_videos
from PIL import Image, ImageDraw, ImageFilter

from atvg_jax import cli
from atvg_jax import landmarks as lm
from atvg_jax.generate import demo, dubbing, footage, video_maker, who_speaks
from atvg_jax.generate.generator import Generator
from atvg_jax.generate.lanes.lanes import Lanes
from data_pipelines import features
from data_pipelines.conversion import shots
from data_pipelines.errors import InputError
from data_pipelines.faces import face_choice, face_landmarker
from data_pipelines.media import audio, source_video, video_reader, video_writer


@pytest.fixture(scope='module')
def nets(tmp_path_factory):
  return random_nets.save(tmp_path_factory.mktemp('nets'))


@pytest.fixture(scope='module')
def generator(nets):
  return Generator.from_pretrained(*nets)


@pytest.fixture(scope='module')
def maker(nets):
  return video_maker.VideoMaker(nets)


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  """A face that moves sideways for 12 frames."""
  path = str(tmp_path_factory.mktemp('film') / 'film.mp4')
  picture = Image.fromarray(video_reader.read_image(demo.portrait())).resize((256, 300))
  with video_writer.VideoWriter(path, (300, 256), np.zeros(100, np.float32)) as writer:
    for shift in range(12):
      writer.append(np.roll(np.asarray(picture), 2 * shift, axis=1))
  return path


def follow(generator, path, which='largest', force=False):
  return footage.follow(path, generator, face_landmarker.FaceLandmarker(), face_choice.parse(which), force)


def dub(generator, path, **choice):
  """What is seen, the video's frames and the dubbed ones."""
  seen = follow(generator, path, **choice)
  coefficients = who_speaks.mouths(generator, [audio.read_audio(demo.speech())], seen.times)
  frames = list(dubbing.redraw(generator, seen, coefficients, True))
  return seen, list(source_video.SourceVideo(path).frames()), frames


@pytest.mark.parametrize('frame', ['full', 'crop'])
def test_the_film_keeps_its_length_and_its_background(maker, film, tmp_path, frame):
  out = tmp_path / 'out.mp4'
  maker.make(video_maker.Job(film, str(out), audio=demo.speech(), frame=frame))
  before, after = video_reader.read_video(film), video_reader.read_video(out)
  assert len(after.frames) == 12 and after.has_audio
  speech = audio.read_audio(demo.speech())
  assert np.corrcoef(after.samples[1000:7000], speech[1000:7000])[0, 1] > 0.9
  if frame == 'crop':
    assert after.frames[0].shape == (128, 128, 3)
  else:
    for ours, theirs in zip(after.frames, before.frames, strict=True):
      assert np.abs(ours[:90].astype(int) - theirs[:90]).mean() < 3  # encoded twice


def test_only_what_speaks_is_replaced(generator, film):
  seen, pictures, frames = dub(generator, film)
  (stretch,) = seen.stretches
  assert (stretch.start, stretch.end) == (0, 12) and (stretch.strength == 1).all() and not seen.notes
  assert len(frames) == 12
  for frame, picture in zip(frames, pictures, strict=True):
    assert (frame[:90] == picture.stored[:90]).all() and (frame != picture.stored).any()


def test_lanes_dub_as_a_video_alone_is_dubbed(maker, film, tmp_path):
  with Lanes(maker.generator, 2) as lanes:
    maker.make(video_maker.Job(film, str(tmp_path / 'lanes.mp4'), audio=demo.speech()), drawer=lanes)
    assert lanes.usage.steps == 2  # of eight frames
  maker.make(video_maker.Job(film, str(tmp_path / 'alone.mp4'), audio=demo.speech()))
  together, alone = (video_reader.read_video(tmp_path / name).frames for name in ('lanes.mp4', 'alone.mp4'))
  assert len(together) == len(alone) == 12
  for ours, theirs in zip(together, alone):
    assert np.abs(ours.astype(int) - theirs).mean() < 0.5  # a grey level, encoded


def test_the_rest_of_a_face_does_not_move(generator, film):
  seen = follow(generator, film)
  coefficient = np.full(len(generator.basis.components), 3.0)
  stretch = seen.stretches[0]
  speaking = dubbing._speaking(generator, stretch, 4, coefficient)
  change = (speaking - stretch.landmarks[4]).reshape(features.NUM_LANDMARKS, 2)
  assert np.abs(change[features.STEADY]).max() < 1e-3 < np.abs(change[features.MOUTH]).max()
  stretch.strength[4] = 0
  np.testing.assert_allclose(dubbing._speaking(generator, stretch, 4, coefficient), stretch.landmarks[4], atol=1e-5)


def _slide(shape):
  """A page of a talk: nobody."""
  page = np.full(shape, 250, np.uint8)
  page[20:-20:16, 20:-20] = 30
  return page


def test_frames_without_a_face_are_the_videos_own(generator, tmp_path):
  pictures = drawn_clips.frames(12)
  pictures += [_slide(pictures[0].shape)] * 10
  drawn_clips.write(tmp_path / 'a.mp4', pictures)
  seen, source, frames = dub(generator, str(tmp_path / 'a.mp4'))
  changed = [bool((frame != picture.stored).any()) for frame, picture in zip(frames, source, strict=True)]
  assert changed == [True] * 12 + [False] * 10
  assert seen.notes == [f'{tmp_path / "a.mp4"}: 10 of 22 frames show no face and stay as they are']


def test_every_shot_is_drawn_by_itself(generator, tmp_path):
  blank = np.full((192, 192, 3), 90, np.uint8)
  left = [np.concatenate([face, blank], axis=1) for face in drawn_clips.frames(10)]
  right = [np.concatenate([blank, face], axis=1) for face in drawn_clips.frames(10, skin=(190, 140, 110))]
  drawn_clips.write(tmp_path / 'a.mp4', left + right)
  seen, source, frames = dub(generator, str(tmp_path / 'a.mp4'))
  assert [(stretch.start, stretch.end) for stretch in seen.stretches] == [(0, 10), (10, 20)]
  assert all((stretch.strength == 1).all() for stretch in seen.stretches)
  halves = [
    (frame != picture.stored).any(axis=(0, 2)).reshape(2, 192).any(axis=1).tolist()
    for frame, picture in zip(frames, source, strict=True)
  ]
  assert halves == [[True, False]] * 10 + [[False, True]] * 10


def test_within_a_shot_a_mouth_becomes_another_little_by_little(generator, tmp_path):
  pictures = drawn_clips.frames(30)
  turned = np.asarray(Image.fromarray(pictures[0]).resize((192, 8)).resize((192, 192)))  # nobody, of the same colours
  pictures[12:20] = [turned] * 8
  drawn_clips.write(tmp_path / 'a.mp4', pictures)
  seen, source, frames = dub(generator, str(tmp_path / 'a.mp4'))
  for frame, picture in zip(frames[12:20], source[12:20]):
    assert (frame == picture.stored).all()
  first = seen.stretches[0]
  assert first.start == 0 and first.end == 12
  np.testing.assert_allclose(first.strength, [1] * 9 + [0.75, 0.5, 0.25])


def test_another_take_within_a_shot_has_its_new_mouth_at_once(generator, tmp_path):
  background = np.random.default_rng(0).integers(0, 256, (24, 80, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)

  def picture(face):
    return np.concatenate([face, background], axis=1)

  takes = drawn_clips.frames(12) + drawn_clips.frames(12, skin=(185, 140, 120))
  drawn_clips.write(tmp_path / 'a.mp4', [picture(face) for face in takes])
  assert not any(new for _, new in list(shots.mark(map(picture, takes)))[1:]), 'the picture is much the same'
  seen = follow(generator, str(tmp_path / 'a.mp4'))
  assert [(stretch.start, stretch.end) for stretch in seen.stretches] == [(0, 12), (12, 24)]
  assert all((stretch.strength == 1).all() for stretch in seen.stretches)


def test_who_never_shuts_the_mouth_in_the_film_rests_with_it_shut(generator, tmp_path):
  drawn_clips.write(tmp_path / 'a.mp4', [drawn_clips.face(0.03)] * 10)
  (stretch,) = follow(generator, str(tmp_path / 'a.mp4')).stretches
  rest_gap = float(generator.basis.rest_gap)
  assert lm.mouth_gap(stretch.landmarks).min() > rest_gap + 4 / 64
  assert lm.mouth_gap(stretch.rest) == pytest.approx(rest_gap, abs=1e-3)


@pytest.mark.parametrize('which, column', [('left', 0), ('right', 1), ('1', 0), ('2', 1), ('290,100', 1)])
def test_the_face_that_is_chosen_speaks(generator, tmp_path, which, column):
  pictures = [np.concatenate([a, b], axis=1) for a, b in zip(drawn_clips.frames(8), drawn_clips.frames(8)[::-1])]
  drawn_clips.write(tmp_path / 'a.mp4', pictures)
  _, source, frames = dub(generator, str(tmp_path / 'a.mp4'), which=which)
  for frame, picture in zip(frames, source, strict=True):
    assert (frame != picture.stored).any(axis=(0, 2)).reshape(2, 192).any(axis=1).tolist() == [column == 0, column == 1]


def test_nobody_where_the_choice_points_is_told(generator, film):
  for which in ('3', '2,2'):
    with pytest.raises(InputError, match='the face that was chosen is not to be seen'):
      follow(generator, film, which)


@pytest.mark.parametrize('rate', [24, 60])
def test_time_stamps_are_kept_and_mouths_are_at_their_time(maker, tmp_path, rate):
  stamps = [index / rate for index in range(10)] + [10 / rate + 0.2]
  stamped_videos.write_stamped(tmp_path / 'a.mp4', drawn_clips.frames(11), stamps, rate=rate)
  result = maker.make(video_maker.Job(str(tmp_path / 'a.mp4'), str(tmp_path / 'b.mp4'), demo.speech(), frame='full'))
  assert result.num_frames == 11 and result.num_frames / result.fps == pytest.approx(stamps[-1] + 1 / rate, abs=0.25)
  times = [
    [float(frame.ticks * video.look.time_base) for frame in video.frames()]
    for video in (source_video.SourceVideo(tmp_path / name) for name in ('a.mp4', 'b.mp4'))
  ]
  assert times[0] == times[1] and times[1] == pytest.approx(stamps, abs=1e-3)


def test_mouths_are_interpolated_between_the_nets_frames(generator):
  speech = audio.read_audio(demo.speech())
  own = np.stack(list(who_speaks.mouths(generator, [speech], np.arange(40) / 25)))
  finer = np.stack(list(who_speaks.mouths(generator, iter(np.array_split(speech, 50)), np.arange(79) / 50)))
  np.testing.assert_allclose(finer[::2], own, atol=1e-5)
  np.testing.assert_allclose(finer[1::2], (own[:-1] + own[1:]) / 2, atol=1e-5)
  assert np.isfinite(list(who_speaks.mouths(generator, [speech[:100]], np.array([0.0, 30.0])))).all()


def test_a_mouth_that_moves_as_it_is_heard_speaks():
  rng = np.random.default_rng(0)
  heard = np.repeat(rng.normal(size=75), 4)  # 12 s
  speaks, other = heard + 0.3 * rng.normal(size=300), np.roll(heard, 90)
  still = 0.02 * heard
  scores = [who_speaks._agreement(heard, seen, 50, 0.25) for seen in (speaks, other, still)]
  assert (scores[0] > scores[1] + 0.2).all() and (scores[0] > scores[2] + 0.2).all()


def test_who_speaks_needs_the_videos_sound(generator, tmp_path):
  pictures = [np.concatenate([a, a], axis=1) for a in drawn_clips.frames(6)]
  drawn_clips.write(tmp_path / 'a.mp4', pictures, samples=None)
  with pytest.raises(InputError, match='has no sound'):
    follow(generator, str(tmp_path / 'a.mp4'), 'speaking')


def _small(folder):
  face = np.asarray(Image.fromarray(drawn_clips.face()).resize((64, 64)))
  picture = np.pad(face, ((32, 32), (32, 32), (0, 0)), mode='edge')
  drawn_clips.write(folder / 'a.mp4', [picture] * 6)
  return str(folder / 'a.mp4')


def test_a_face_that_is_too_small_is_told_and_drawn_by_force(generator, tmp_path):
  path = _small(tmp_path)
  with pytest.raises(InputError, match=r'the face is too small, 1\d\.\d pixels between the eyes where 16 are needed'):
    follow(generator, path)
  seen = follow(generator, path, force=True)
  assert seen.stretches[0].end == 6 and not seen.notes


def _masked(picture):
  """The drawn face with a mask."""
  image = Image.fromarray(picture)
  ImageDraw.Draw(image).polygon([(52, 98), (96, 92), (140, 98), (132, 140), (96, 152), (60, 140)], (150, 190, 215))
  return np.asarray(image.filter(ImageFilter.GaussianBlur(1)))


def test_a_mouth_that_is_covered_stays_until_it_is_seen(generator, tmp_path):
  pictures = [_masked(picture) for picture in drawn_clips.frames(50)]
  drawn_clips.write(tmp_path / 'a.mp4', pictures)
  with pytest.raises(InputError, match='50 of 50 frames stay as they are: the mouth seems to be covered, by a mask'):
    follow(generator, str(tmp_path / 'a.mp4'))
  assert follow(generator, str(tmp_path / 'a.mp4'), force=True).stretches[0].end == 50


def test_a_film_that_stands_on_its_head_is_told(generator, nets, tmp_path):
  path = drawn_clips.write(tmp_path / 'a.mp4', [picture[::-1, ::-1].copy() for picture in drawn_clips.frames(30)])
  with pytest.raises(
    InputError, match=r'a.mp4 stands on its head: turn it first, for example by ffmpeg -i .*a.mp4 -vf'
  ):
    follow(generator, str(path))
  for option in ('driving', 'motion'):
    job = {'image': demo.portrait(), 'out': str(tmp_path / 'b.mp4'), 'audio': demo.speech(), option: str(path)}
    with pytest.raises(InputError, match='a.mp4 stands on its head'):
      video_maker.generate_video(**job, weights=nets)


def test_what_cannot_be_dubbed_is_told(nets, film, tmp_path, capsys):
  argv = ['generate', '--image', film, '--out', str(tmp_path / 'a.mp4'), '--weights', *nets]
  for more in (['--driving', film], ['--audio', demo.speech(), '--motion', 'gentle']):
    assert cli.main([*argv, *more]) == 2
    assert 'is a video' in capsys.readouterr().err
  with video_writer.VideoWriter(tmp_path / 'nobody.mp4', (64, 64)) as writer:
    for _ in range(3):
      writer.append(np.zeros((64, 64, 3), np.uint8))
  with pytest.raises(InputError, match=r'nobody.mp4: no face'):
    video_maker.generate_video(str(tmp_path / 'nobody.mp4'), str(tmp_path / 'a.mp4'), audio=demo.speech(), weights=nets)
  assert not (tmp_path / 'a.mp4').exists()


def test_a_video_is_repeated_until_the_sound_ends(maker, film, tmp_path):
  sound = str(tmp_path / 'sound.wav')
  samples = audio.read_audio(demo.speech())[: 40 * features.SAMPLES_PER_FRAME]
  with wave.open(sound, 'wb') as file:
    file.setparams((1, 2, features.SAMPLE_RATE, 0, 'NONE', ''))
    file.writeframes((samples * 32767).astype('<i2').tobytes())
  out = tmp_path / 'out.mp4'
  maker.make(video_maker.Job(film, str(out), audio=sound, frame='full', loop=True))
  assert len(video_reader.read_video(out).frames) == 40
  with pytest.raises(InputError, match='no end that is known'):
    video_maker.check(video_maker.Job(film, str(out), audio='-', loop=True))
