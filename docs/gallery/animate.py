"""Turns the beginning of a video into a moving picture that a page can show.

python docs/gallery/animate.py VIDEO OUT.webp --seconds 4 --size 400
"""

import argparse
import pathlib

import av
from PIL import Image


def main() -> None:
  """Reads the command line, writes an animated WebP of the video's frames and prints its size."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('video')
  parser.add_argument('out', help='the .webp to write')
  parser.add_argument('--seconds', type=float, default=4.0, help='how much of the video (default: 4)')
  parser.add_argument('--size', type=int, default=400, help='longer side in pixels (default: 400)')
  parser.add_argument('--every', type=int, default=1, help='keep every n-th frame (default: 1)')
  parser.add_argument('--quality', type=int, default=60, help="WebP's, 0 to 100 (default: 60)")
  arguments = parser.parse_args()
  frames: list[Image.Image] = []
  with av.open(arguments.video) as video:
    fps = float(video.streams.video[0].average_rate or 25)
    for number, frame in enumerate(video.decode(video=0)):
      if number >= arguments.seconds * fps:
        break
      if number % arguments.every == 0:
        picture = frame.to_image()
        picture.thumbnail((arguments.size, arguments.size), Image.Resampling.LANCZOS)
        frames.append(picture)
  duration = round(1000 * arguments.every / fps)
  options = {'duration': duration, 'loop': 0, 'quality': arguments.quality, 'method': 6}
  frames[0].save(arguments.out, save_all=True, append_images=frames[1:], **options)
  print(f'{arguments.out}: {len(frames)} frames, {pathlib.Path(arguments.out).stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
  main()
