"""What stands before the page: who may come in, and what a browser may load."""

import contextlib
import hmac
from http import cookies
from typing import Any
from urllib import parse

_POLICY = (
  "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
  "object-src 'none'; form-action 'self'; frame-ancestors 'none'"
)
_COOKIE = 'atvg_token'
_OPEN = '/gradio_api/startup-events'  # gradio asks itself for it, without a token, and gives nothing away there


class Policy:
  """Middleware that adds a content security policy to every answer: nothing is loaded from elsewhere."""

  def __init__(self, app: Any):
    self._app = app

  async def __call__(self, scope, receive, send) -> None:
    """Answers one request."""

    async def send_with_policy(message):
      if message['type'] == 'http.response.start':
        message = message | {
          'headers': [
            *message.get('headers', ()),
            (b'content-security-policy', _POLICY.encode()),
            (b'referrer-policy', b'no-referrer'),
          ]
        }
      await send(message)

    await self._app(scope, receive, send_with_policy)


class Token:
  """Middleware that lets in who has the token: in the header `Authorization: Bearer`, or once as `?token=` of the page.

  The latter sets a cookie and drops the token from the address.
  """

  def __init__(self, app: Any, token: str):
    self._app, self._token = app, token

  async def __call__(self, scope, receive, send) -> None:
    """Answers one request."""
    if scope['type'] == 'lifespan' or scope.get('path') == _OPEN:
      await self._app(scope, receive, send)
      return
    headers = {name.decode('latin-1').lower(): value.decode('latin-1') for name, value in scope.get('headers', ())}
    kind, _, bearer = headers.get('authorization', '').partition(' ')
    cookie = cookies.SimpleCookie()
    with contextlib.suppress(cookies.CookieError):
      cookie.load(headers.get('cookie', ''))
    held = cookie[_COOKIE].value if _COOKIE in cookie else ''
    if (kind.lower() == 'bearer' and self._is(bearer)) or self._is(parse.unquote(held)):
      await self._app(scope, receive, send)
    elif scope['type'] == 'http' and self._is(_asked(scope)):
      kept = f'{_COOKIE}={parse.quote(self._token, safe="")}; HttpOnly; SameSite=Strict; Path=/'
      await _answer(send, 303, b'', [(b'location', scope['path'].encode()), (b'set-cookie', kept.encode('latin-1'))])
    elif scope['type'] == 'http':
      await _answer(send, 401, b'This page needs its token.\n', [(b'www-authenticate', b'Bearer')])
    else:
      await send({'type': 'websocket.close', 'code': 1008})

  def _is(self, given: str) -> bool:
    return hmac.compare_digest(given.encode(), self._token.encode())


def _asked(scope: Any) -> str:
  """The token in an address, if there is one."""
  return parse.parse_qs(scope.get('query_string', b'').decode('latin-1')).get('token', [''])[0]


async def _answer(send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
  start = [(b'content-type', b'text/plain'), (b'content-length', str(len(body)).encode()), *headers]
  await send({'type': 'http.response.start', 'status': status, 'headers': start})
  await send({'type': 'http.response.body', 'body': body})
