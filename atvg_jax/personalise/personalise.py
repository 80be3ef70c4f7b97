"""Both nets for one person, from minutes of that person's video: `atvg personalise VIDEO… --out DIR`.

DIR gets at.npz and vg.npz, the person's best example frame, a stretch of the video to dub, person.json, and a report:
before and after on the last tenth of the video, which nothing learns from but the choice of the best step.

Whatever is decided depends on the videos and the options alone, not on the time that anything takes: a run that is
killed at any moment and started again leaves the same weights, pictures and scores as one that was not.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from atvg_jax.checkpoints import weights
from atvg_jax.generate import person
from atvg_jax.generate.generator import Generator
from atvg_jax.personalise import at_adaptation, comparison, example, footage, vg_adaptation
from atvg_jax.train import command_logging
from data_pipelines import clip_source, features
from data_pipelines.atomic_files import atomic_write
from data_pipelines.errors import InputError

_MINUTES = 1.0, 600.0
_WORK, _PLAN, _START = 'work', 'plan.json', 'start_vg.npz'
_WORSE_R = 0.03  # of the opening's correlation in cross-validation: so much is chance on ten seconds


class _AdaptedAt(NamedTuple):
  """AT-net before and after, by cross-validation."""

  bundle: weights.Bundle
  before: at_adaptation.Scores
  after: at_adaptation.Scores
  helps: bool


def run(
  videos: Sequence[str],
  out: str,
  *,
  minutes: float = 20.0,
  consent_note: str = '',
  start: Sequence[str] | None = None,
) -> str:
  """Adapts both nets; run again after an interruption, it goes on where it was.

  Args:
    videos: of one person, in the order of time.
    out: the folder.
    minutes: that it may take on two cores; turned into steps.
    consent_note: who agreed to this and to what; kept in the weights.
    start: weights to start from, see `load_nets`; None: the packaged ones.

  Returns:
    The scores, as Markdown, and what was written.

  Raises:
    InputError: videos, options or the folder will not do, in one sentence.
    KeyboardInterrupt: it was asked to stop.
  """
  command_logging.set_up()
  began = time.monotonic()
  if not _MINUTES[0] <= minutes <= _MINUTES[1]:
    raise InputError(f'--minutes {minutes:g} is out of range: give {_MINUTES[0]:g} to {_MINUTES[1]:g}')
  videos = list(map(os.fspath, videos))
  footage.check_videos(videos)
  at, vg = weights.load_nets(start)
  if at.config.get('published') or vg.config.get('published'):
    raise InputError('the published weights cannot be adapted to one person: leave --weights out, or give others')
  with _folder(out, _plan(videos, minutes, consent_note, at, vg)) as work:
    if os.path.exists(os.path.join(out, person.ABOUT)):
      return f'{out} is finished: {comparison.REPORT} has the scores\n'
    vg_start = os.path.join(work, _START)
    if not os.path.exists(vg_start):
      weights.save(vg_start, vg, half=False)
    seen = footage.convert(videos, work, at)
    adapted_at = _adapt_at(at, seen)
    steps = vg_adaptation.num_steps(minutes, _frames(seen, clip_source.TRAIN))
    drawn, training = vg_adaptation.adapt(vg_start, seen.directory, os.path.join(work, 'vg'), steps)
    told = {
      'note': 'weights of one person: not for anybody else, and not without that person agreeing',
      'consent': consent_note or 'none was given',
      'seconds': _frames(seen, clip_source.TRAIN) / features.FPS,
    }
    nets = {
      'at': _labelled(adapted_at.bundle, at, told, adapted_at.helps),
      'vg': _labelled(drawn, vg, told, training['step'] > 0),
    }
    return _finish(out, seen, (at, vg), nets, adapted_at, training, steps, told, began)


def _plan(
  videos: Sequence[str], minutes: float, consent_note: str, at: weights.Bundle, vg: weights.Bundle
) -> dict[str, Any]:
  """What the result depends on."""
  files = [[os.path.basename(path), os.path.getsize(path), os.stat(path).st_mtime_ns] for path in videos]
  start = {'at': weights.describe(at)['sha256'], 'vg': weights.describe(vg)['sha256']}
  return {'videos': files, 'minutes': minutes, 'consent_note': consent_note, 'weights': start}


@contextlib.contextmanager
def _folder(out: str, plan: dict[str, Any]) -> Iterator[str]:
  """The working folder in `out`, which is this run's alone; raises InputError where that holds something else."""
  if os.path.exists(out) and not os.path.isdir(out):
    raise InputError(f'--out {out} is a file: name a folder')
  work = os.path.join(out, _WORK)
  path = os.path.join(work, _PLAN)
  if os.path.isdir(out) and os.listdir(out) and not os.path.isdir(work):
    raise InputError(f'--out {out} holds something else: name a new folder')
  try:
    os.makedirs(work, exist_ok=True)
  except OSError as error:
    raise InputError(f'--out {out} cannot be made ({error.strerror}): choose another folder') from error
  with open(os.path.join(work, 'lock'), 'w') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise InputError(f'another run is writing {out}: wait for it, or stop it') from None
    if os.path.exists(path):
      with open(path, encoding='utf-8') as file:
        found = json.load(file)
      changed = [name for name in plan if found.get(name) != plan[name]]
      if changed:
        raise InputError(f'--out {out} was begun with other {", ".join(changed)}: name another folder, or remove it')
    else:
      _write_json(path, plan)
    yield work


def _adapt_at(start: weights.Bundle, seen: footage.Footage) -> _AdaptedAt:
  """AT-net adapted, or as it was where that does not follow better what it was not adapted to."""
  clips = list(at_adaptation.predict(start, seen.directory, clip_source.TRAIN))
  before, after = at_adaptation.cross_validate(start, clips)
  helps = after.lmd < before.lmd and after.opening_r > before.opening_r - _WORSE_R
  return _AdaptedAt(at_adaptation.adapt(start, clips) if helps else start, before, after, helps)


def _labelled(bundle: weights.Bundle, start: weights.Bundle, told: dict[str, Any], helps: bool) -> weights.Bundle:
  """The weights with whose they are in their provenance; what did not help is the start, and says so."""
  known = {name: start.provenance[name] for name in ('licence',) if name in start.provenance}
  if 'licence' not in known:
    known['licence'] = start.config.get('licence', '')
  # The run's folders are nobody's business, and would make the same weights of another folder another file.
  config = {**bundle.config, 'init_from': '', 'data': {**bundle.config.get('data', {}), 'dirs': []}}
  return bundle._replace(
    config=config,
    provenance={**known, 'started_from': weights.describe(start), 'adapted': helps, 'person': told['note'], **told},
  )


def _finish(
  out: str,
  seen: footage.Footage,
  before: tuple[weights.Bundle, weights.Bundle],
  nets: dict[str, weights.Bundle],
  adapted_at: _AdaptedAt,
  training: dict[str, float],
  steps: int,
  told: dict[str, Any],
  began: float,
) -> str:
  """Writes everything that is kept, the weights last but for the report."""
  work = os.path.join(out, _WORK)
  paths = {kind: os.path.join(out, f'{kind}.npz') for kind in nets}
  packed = {kind: os.path.join(work, f'{kind}.npz') for kind in nets}
  for kind, bundle in nets.items():
    weights.save(packed[kind], bundle)
  after = Generator(*(weights.load(packed[kind]) for kind in ('at', 'vg')))  # as they will be read
  chosen = example.choose(after, seen)
  example.save_picture(os.path.join(out, person.EXAMPLE), chosen)
  seconds = example.save_video(os.path.join(out, person.OWN_VIDEO), seen)
  tables = comparison.compare(Generator(*before), after, seen.directory, out)
  for kind, path in paths.items():
    os.replace(packed[kind], path)
  held_out = _frames(seen, clip_source.VALIDATION) / features.FPS
  basis = nets['at'].basis
  assert basis is not None, "AT-net's weights hold its landmark basis"
  about = {
    **told,
    'held_out_seconds': held_out,
    'sound_late_by_seconds': seen.sound_offsets,
    'at': {'adapted': adapted_at.helps, 'before': adapted_at.before._asdict(), 'after': adapted_at.after._asdict()},
    'vg': {'adapted': training['step'] > 0, 'steps': steps, **training},
    'example': {**chosen._asdict(), 'video': os.path.basename(chosen.video)},
    'own_video_seconds': seconds,
    'rest_shape': [round(float(value), 5) for value in basis.mean],
  }
  text = _told(about, (time.monotonic() - began) / 60)
  scores = comparison.write(tables, text, out)
  _write_json(os.path.join(out, person.ABOUT), about)
  return f'{scores}\n{text}\n{out}: {", ".join([*map(os.path.basename, paths.values()), comparison.REPORT])}\n'


def _told(about: dict[str, Any], minutes: float) -> str:
  """What the report says in words."""
  at, vg = about['at'], about['vg']
  at_told = (
    f'AT-net {"was adapted" if at["adapted"] else "stays as it was"}: each fifth of what was learnt from, followed '
    f'after adapting to the other four, LMD {at["before"]["lmd"]:.2f} → {at["after"]["lmd"]:.2f} pixels, opening r '
    f'{at["before"]["opening_r"]:.3f} → {at["after"]["opening_r"]:.3f}.'
  )
  vg_told = (
    f'VG-net was adapted: best of {vg["steps"]} steps is {vg["step"]}, SSIM of the mouth {vg["start_score"]:.4f} → '
    f'{vg["score"]:.4f}.'
    if vg['adapted']
    else f'VG-net stays as it was: none of {vg["steps"]} steps drew the held-out part better.'
  )
  return (
    f'{about["seconds"]:.0f} seconds of one person were learnt from, the last {about["held_out_seconds"]:.0f} held out '
    f'for these scores and the choice of the step. {at_told} {vg_told} Consent: {about["consent"]}. '
    f'Weights of one person are not for anybody else. {minutes:.1f} minutes since the last start.'
  )


def _frames(seen: footage.Footage, split: str) -> int:
  return sum(length for _, length in seen.lengths(split))


def _write_json(path: str, value: Any) -> None:
  with atomic_write(path) as file:
    json.dump(value, file, indent=2)
    file.write('\n')
