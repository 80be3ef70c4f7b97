"""Tables that people make in spreadsheets: CSV of any encoding that says which it is, with any separator."""

import codecs
import csv
import os
from collections.abc import Collection

from data_pipelines.errors import InputError

_SEPARATORS = ',;\t'
_MARKS = {codecs.BOM_UTF8: 'utf-8-sig', codecs.BOM_UTF16_LE: 'utf-16', codecs.BOM_UTF16_BE: 'utf-16'}


def read_lines(path: str | os.PathLike) -> list[str]:
  """The lines of a text in UTF-8, or in UTF-16 with its mark.

  Raises:
    InputError: it cannot be read, or is no such text; says how to save it.
  """
  try:
    with open(path, 'rb') as file:
      content = file.read()
  except (OSError, ValueError) as error:
    raise InputError(f'{path} cannot be read ({getattr(error, "strerror", None) or error}): check the path.') from error
  encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), 'utf-8')
  try:
    text = content.decode(encoding)
  except UnicodeDecodeError as error:
    if b'\0' not in content:
      raise InputError(
        f'{path} is no UTF-8 text (byte {error.start} is {content[error.start]:#04x}; Latin-1 or Windows-1252, '
        'perhaps): save it as "CSV UTF-8".'
      ) from error
    text = '\0'
  if '\0' in text:
    raise InputError(f'{path} is no text, or UTF-16 without a byte-order mark: save it as "CSV UTF-8".')
  return text.splitlines()


def separator(header: str, columns: Collection[str]) -> str:
  """What divides a table's columns: of comma, semicolon and tab the one that shows most of `columns` in the header."""
  return max(_SEPARATORS, key=lambda sign: len(set(columns) & {name.strip() for name in _split(header, sign)}))


def _split(header: str, sign: str) -> list[str]:
  try:
    return next(csv.reader([header], delimiter=sign), [])
  except csv.Error:
    return []
