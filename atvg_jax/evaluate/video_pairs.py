"""Scores of videos of any systems beside the real ones: `atvg evaluate --real DIR --generated DIR`, or `--against`."""

import concurrent.futures
import os
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from atvg_jax.evaluate import clip_scores, score_files, score_rows, score_tables
from atvg_jax.evaluate.metric_networks import networks
from data_pipelines import features
from data_pipelines.errors import InputError
from data_pipelines.media import video_reader


def run(
  real: str,
  generated: str | None = None,
  *,
  against: Mapping[str, str] | None = None,
  out: str | None = None,
  metric_networks: networks.MetricNetworks | None = None,
) -> str:
  """Scores videos beside the real ones of the same names.

  Args:
    real: folder of the real videos.
    generated: folder of the others; files belong together if their names without suffix are equal.
    against: name → folder of further systems' videos. With two systems or more only clips are scored that all have, and
      the table has their paired differences from the first.
    out: folder for evaluation.json, .md, .csv, .html and videos/, or None.
    metric_networks: networks that score the videos as well.

  Returns:
    The table, as Markdown.

  Raises:
    InputError: a folder is missing, no names agree, or a video cannot be read or shows no face.
  """
  score_files.make_folder(out)
  systems = ({} if generated is None else {'generated': generated}) | dict(against or {})
  clips = _clips(real, systems)
  metric_networks, threads = metric_networks or networks.MetricNetworks(), score_rows.make_threads()
  with tqdm(clips, unit='clip', desc=f'scoring {", ".join(systems)}', dynamic_ncols=True) as progress:
    scored = (score_clip(*clip, metric_networks=metric_networks, threads=threads) for clip in progress)
    rows = score_files.write_videos(scored, out, 'videos')
  title = generated if generated is not None and len(systems) == 1 else ', '.join(systems)
  settings = {'real': real, 'systems': systems}
  return score_files.report({title: rows}, {title: metric_networks.set_scores()}, settings, out, compared=list(systems))


def parse_systems(texts: Sequence[str]) -> dict[str, str]:
  """NAME=FOLDER texts → {name: folder}.

  Raises:
    InputError: one is no NAME=FOLDER, a name comes twice, or is that of another row.
  """
  systems: dict[str, str] = {}
  for text in texts:
    name, equals, folder = (part.strip() for part in text.partition('='))
    if not (name and equals and folder):
      raise InputError(f'--against {text!r} is not understood: give NAME=FOLDER, e.g. wav2lip=videos/wav2lip')
    if name in systems or name in score_tables.ROWS:
      raise InputError(f'--against {text!r}: there is a row {name!r} already, choose another name')
    systems[name] = folder
  return systems


def score_clip(
  real: str,
  systems: Mapping[str, str],
  *,
  metric_networks: networks.MetricNetworks,
  threads: concurrent.futures.Executor,
) -> score_rows.Scored:
  """Scores the video files of several systems beside the real one, with the sound of the real one.

  All are cut to the face: by the real face's place if the pictures are of one size, else each by its own; and to the
  length of the shortest.

  Args:
    real: file of the real video.
    systems: name → file.
    metric_networks: networks that score the videos as well.
    threads: what scores.

  Raises:
    InputError: a video cannot be read, or shows no face.
  """
  clip = video_reader.read_video(real)
  true_frames, true, matrices = _crops(real, clip.frames)
  videos = {'baseline': true_frames}
  for name, path in systems.items():
    ours = video_reader.read_video(path).frames
    same_size = clip.frames[0].shape == ours[0].shape
    videos[name] = clip_scores.warped(ours, matrices) if same_size else _crops(path, ours)[0]
  videos['real'] = true_frames
  length = min(map(len, videos.values()))
  videos = {name: video[:length] for name, video in videos.items()}
  true_frames, true = videos['real'], true[:length]
  example = true_frames[length // 2]
  videos['baseline'] = np.broadcast_to(example, true_frames.shape)
  whole = true_frames[None]
  compared = {name: video[None] for name, video in videos.items()} | {'baseline': example[None, None], 'real': whole}
  by_frame = clip_scores.reference_scores(compared, whole, [true])
  submitted = score_rows.submit(
    threads,
    clip_scores.RealClip(true_frames, true, example),
    videos,
    {row: {column: values[0] for column, values in columns.items()} for row, columns in by_frame.items()},
  )
  rows, mouth = score_rows.collect(submitted, metric_networks, clip.samples if clip.has_audio else None)
  name = os.path.splitext(os.path.basename(real))[0]
  return score_rows.Scored({'clip_id': name, 'speaker': '', 'mouth': mouth, 'rows': rows}, videos)


def _clips(real: str, systems: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
  """The real file and those of the systems, of every name that all folders have."""
  files = {folder: _files(folder) for folder in (real, *systems.values())}
  names = sorted(set.intersection(*(set(files[folder]) for folder in files)))
  if not names:
    for folder in systems.values():
      if not files[real].keys() & files[folder].keys():
        raise InputError(
          f'no file in {folder} has the name of a file in {real} (suffixes aside): there is nothing to compare'
        )
    raise InputError(f'no name of a file is in all of {", ".join(files)} (suffixes aside): there is nothing to compare')
  return [(files[real][name], {system: files[folder][name] for system, folder in systems.items()}) for name in names]


def _files(folder: str) -> dict[str, str]:
  """{name without suffix: path} of a folder's files."""
  if not os.path.isdir(folder):
    raise InputError(f'{folder} is no folder of videos')
  return {
    os.path.splitext(name)[0]: os.path.join(folder, name)
    for name in sorted(os.listdir(folder))
    if not name.startswith('.') and os.path.isfile(os.path.join(folder, name))
  }


def _crops(path: str, frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A video's aligned crops uint8 [T, 128, 128, 3], landmarks in them [T, 136], and matrices [T, 2, 3].

  Args:
    path: the video, for error messages.
    frames: its frames, each uint8 [H, W, 3].
  """
  # A picture that ends where the face does, as generated crops do, gets a margin: the detector wants one.
  margin = max(frames[0].shape[:2]) // 2 if max(frames[0].shape[:2]) <= 2 * features.IMAGE_SIZE else 0
  padding = [(margin, margin), (margin, margin), (0, 0)]
  try:
    track = clip_scores.landmarker().track(np.pad(frame, padding, mode='edge') for frame in frames)
  except InputError as error:
    raise InputError(f'{path}: no face was found in it, so that it cannot be scored') from error
  return clip_scores.aligned_crops(frames, track.landmarks - margin)
