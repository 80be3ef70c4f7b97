"""Folders of videos as people have them: who speaks, how they are split, and nothing that is not accounted for."""

import os

import drawn_clips
import pytest

from data_pipelines import clip_source
from data_pipelines.conversion import cut_video, video_part
from data_pipelines.datasets.clips import clips_source
from data_pipelines.errors import InputError


def touch(root, *names):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text('video')
  return root


def listed(root, **options):
  return clips_source.list_clips(str(root), **options)


def test_speakers_are_the_first_folders_and_the_split_is_by_them(tmp_path):
  names = [f's{i}/2024/talk {j}.{ending}' for i in range(4) for j, ending in enumerate(('mp4', 'MOV'))]
  parts = listed(touch(tmp_path, *names))
  assert [(part.clip_id, part.speaker) for part in parts[:2]] == [('s0_2024-talk-0', 's0'), ('s0_2024-talk-1', 's0')]
  splits = {part.speaker: part.split for part in parts}
  assert sorted(splits.values()) == ['train'] * 3 + ['validation'] and len(parts) == 8
  assert not any(part.all_faces for part in parts) and all(part.all_faces for part in listed(tmp_path, all_faces=True))


def test_of_one_speaker_files_are_held_out(tmp_path):
  parts = listed(touch(tmp_path / 'anna', *(f'{i}.mp4' for i in range(10))))
  assert {part.speaker for part in parts} == {'anna'}
  assert [part.split for part in parts].count('validation') == 1


def test_a_table_says_who_speaks_and_in_which_split(tmp_path):
  touch(tmp_path, 'a.mp4', 'b/c.mp4', 'é.mp4', 'nobody.mp4')
  (tmp_path / 'speakers.csv').write_text(
    'path,speaker,split,sound_advance\na.mp4,Anna,test,0.06\n./b/c.mp4,Bert,,\ne\u0301.mp4,Carl,validation,\n'
    'gone.mp4,Bert,,\n',
    encoding='utf-8-sig',
  )
  parts = {os.path.relpath(part.path, tmp_path): part for part in listed(tmp_path)}
  assert {name: (part.speaker, part.split) for name, part in parts.items()} == {
    'a.mp4': ('Anna', 'test'),
    'b/c.mp4': ('Bert', 'train'),
    'é.mp4': ('Carl', 'validation'),
    'gone.mp4': ('Bert', 'train'),
    'nobody.mp4': ('', 'train'),
  }
  assert parts['a.mp4'].sound_advance == 0.06


@pytest.mark.parametrize(
  'table, message',
  [
    ('file,speaker\na.mp4,Anna\n', 'has the columns'),
    ('path,speaker,split\na.mp4,Anna,dev\n', "line 2: there is no split 'dev'"),
    ('path,speaker,split\na.mp4,Anna,train\nb.mp4,Anna,test\n', 'line 3: the speaker Anna is in train and in test'),
    ('path,speaker,sound_advance\na.mp4,Anna,late\n', "line 2: sound_advance is 'late'"),
    (b'path,speaker\n\xff,Anna\n', 'UTF-8'),
  ],
)
def test_bad_tables_are_told(tmp_path, table, message):
  touch(tmp_path, 'a.mp4', 'b.mp4')
  (tmp_path / 'speakers.csv').write_bytes(table if isinstance(table, bytes) else table.encode())
  with pytest.raises(InputError, match=message):
    listed(tmp_path)


def test_videos_are_known_by_their_names_or_their_beginning(tmp_path):
  touch(tmp_path / 'anna', 'a.mp4', 'notes.txt', '.hidden.mp4', 'sound.wav', '.git/b.mp4')
  (tmp_path / 'anna' / 'c').write_bytes(drawn_clips.write(tmp_path / 'c.mp4', num_frames=3).read_bytes())
  (tmp_path / 'c.mp4').unlink()
  (tmp_path / 'anna' / 'd.mp4').mkdir()
  (tmp_path / 'anna' / 'e.mp4').symlink_to('nowhere')
  assert [os.path.basename(part.path) for part in listed(tmp_path)] == ['a.mp4', 'c', 'd.mp4', 'e.mp4']


def test_links_are_followed_but_no_file_is_taken_twice(tmp_path):
  touch(tmp_path, 'disk/talk.mp4', 'source/anna/a.mp4')
  (tmp_path / 'source' / 'bert').symlink_to(tmp_path / 'disk')
  (tmp_path / 'source' / 'carl').mkdir()
  (tmp_path / 'source' / 'carl' / 'b.mp4').symlink_to(tmp_path / 'source' / 'anna' / 'a.mp4')
  (tmp_path / 'source' / 'anna' / 'round').symlink_to(tmp_path / 'source')
  parts = {part.clip_id: part.problem for part in listed(tmp_path / 'source')}
  assert parts['anna_a'] is None and parts['bert_talk'] is None and len(parts) == 3
  assert parts['carl_b'][0] == 'duplicate' and 'anna/a.mp4' in parts['carl_b'][1]


def test_names_are_unique_and_fit_a_file_system(tmp_path):
  parts = listed(touch(tmp_path, 'anna/a b.mp4', 'anna/a-b.mp4', 'anna/a b.mov', f'anna/{"長" * 70}.mp4'))
  names = {part.clip_id for part in parts}
  assert len(names) == 4 and 'anna_a-b' in names
  assert all(len(name.encode()) < 120 and '/' not in name for name in names)


def test_long_videos_come_in_parts(tmp_path, monkeypatch):
  drawn_clips.write(tmp_path / 'anna' / 'a.mp4', num_frames=70)
  monkeypatch.setattr(clips_source, '_SMALL', 0)
  monkeypatch.setattr(cut_video, 'PART_FRAMES', 20)
  for source in (tmp_path, tmp_path / 'anna' / 'a.mp4'):
    parts = listed(source)
    assert [(part.first, part.end, part.split) for part in parts] == [
      (0, 20, 'train'),
      (20, 40, 'train'),
      (40, 60, 'train'),
      (60, None, 'validation'),
    ]
    assert {(part.clip_id, part.speaker) for part in parts} == {('anna_a', 'anna')}


@pytest.mark.parametrize(
  'frames, parts',
  [
    (40, [(0, None, 'train')]),  # nothing can be held out
    (75, [(0, 50, 'train'), (50, None, 'validation')]),
    (300, [(0, 250, 'train'), (250, None, 'validation')]),
    (1200, [(0, 1080, 'train'), (1080, None, 'validation')]),
  ],
)
def test_the_end_of_a_single_short_video_is_held_out(tmp_path, monkeypatch, frames, parts):
  touch(tmp_path, 'anna/a.mp4')
  monkeypatch.setattr(video_part, 'probe', lambda path: video_part.Probe(frames / 25, True))
  for source in (tmp_path, tmp_path / 'anna' / 'a.mp4'):
    assert [(part.first, part.end, part.split) for part in listed(source)] == parts


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('sign', [',', ';', '\t'])
def test_tables_as_spreadsheets_save_them(tmp_path, encoding, sign):
  touch(tmp_path, 'a.mp4', 'b.mp4')
  text = 'path,speaker,split\na.mp4,Jürgen,train\nb.mp4,Zoë,validation\n'.replace(',', sign)
  (tmp_path / 'speakers.csv').write_bytes(text.encode(encoding))
  assert [(part.speaker, part.split) for part in listed(tmp_path)] == [('Jürgen', 'train'), ('Zoë', 'validation')]


@pytest.mark.parametrize(
  'encoding, reason', [('latin-1', 'no UTF-8 text .*Latin-1'), ('utf-16-le', 'UTF-16 without'), ('utf-16-be', 'UTF-16')]
)
def test_tables_that_do_not_say_their_encoding_are_told(tmp_path, encoding, reason):
  touch(tmp_path, 'a.mp4')
  (tmp_path / 'speakers.csv').write_bytes('path,speaker,split\na.mp4,Jürgen,train\n'.encode(encoding))
  with pytest.raises(InputError, match=reason + '.*: save it as "CSV UTF-8"'):
    listed(tmp_path)


def test_nothing_to_convert_is_told(tmp_path):
  with pytest.raises(InputError, match='does not exist'):
    listed(tmp_path / 'nothing')
  with pytest.raises(InputError, match='holds no video'):
    listed(touch(tmp_path, 'notes.txt'))
  assert clip_source.SPLITS == ('train', 'validation', 'test')
