"""The page of `robustness`: its curves and tables, to open in a browser."""

import html
from collections.abc import Sequence

from atvg_jax.evaluate import score_page


def page(markdown: str, pictures: Sequence[str]) -> str:
  """The whole page.

  Args:
    markdown: headings, tables and sentences, as `robustness_report` has them.
    pictures: PNG files of the curves, relative to the page, which stand above all tables.
  """
  parts = [
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Robustness</title>'
    f'<style>{score_page.STYLE} img {{ max-width: 100% }}</style>'
  ]
  figures = ''.join(f'<p><img src="{html.escape(name)}" alt="curves: {html.escape(name)}"></p>' for name in pictures)
  table: list[str] = []
  for line in [*markdown.splitlines(), '']:
    if line.startswith('|'):
      table.append(line)
      continue
    if table:
      parts.append(_table(table))
      table = []
    level = len(line) - len(line.lstrip('#'))
    if level:
      if level == 2 and figures:
        parts.append(figures)
        figures = ''
      parts.append(f'<h{level}>{html.escape(line[level:].strip())}</h{level}>')
    elif line:
      parts.append(f'<p>{html.escape(line)}</p>')
  return '\n'.join(parts) + '</html>\n'


def _table(lines: Sequence[str]) -> str:
  """A Markdown table as HTML."""
  rows = [[html.escape(cell.strip()) for cell in line.strip('|').split('|')] for line in lines]
  head = ''.join(f'<th>{cell}</th>' for cell in rows[0])
  body = ''.join(f'<tr>{"".join(f"<td>{cell}</td>" for cell in row)}</tr>' for row in rows[2:])
  return f'<table><tr>{head}</tr>{body}</table>'
