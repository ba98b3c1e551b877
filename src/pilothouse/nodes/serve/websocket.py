"""A WebSocket to a simulated pod (RFC 6455): messages come back as they are, and the first protocol offered is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Ping, Request, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from pilothouse.nodes.answers import SERVER, Asked

if TYPE_CHECKING:
    from pilothouse.nodes.serve.connection import Connection

GOING_AWAY = 1001


class WebSocket:
    """One connection after its upgrade."""

    busy = False

    def __init__(self, connection: Connection, asked: Asked) -> None:
        self._pod, self._place, self._transport = connection.pod, connection.place, connection.transport
        self._ws = WSConnection(ConnectionType.SERVER)
        headers = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in asked.headers]
        try:
            self._ws.initiate_upgrade_connection(headers, asked.path)
        except RemoteProtocolError as error:
            self._refuse(str(error))
            return
        for event in self._ws.events():
            if isinstance(event, Request):
                mine = [(b"server", SERVER.encode()), (b"x-pod-name", self._pod.name.encode())]
                taken = event.subprotocols[0] if event.subprotocols else None
                self._transport.write(self._ws.send(AcceptConnection(subprotocol=taken, extra_headers=mine)))

    def _refuse(self, why: str) -> None:
        body = f"{why}\n".encode()
        head = f"HTTP/1.1 400 Bad Request\r\nServer: {SERVER}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._transport.close()

    def data(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            self._ws.receive_data(data)
            for event in self._ws.events():
                if isinstance(event, (TextMessage, BytesMessage)):
                    self._echo(event)
                elif isinstance(event, Ping):
                    self._transport.write(self._ws.send(event.response()))
                elif isinstance(event, CloseConnection):
                    self._transport.write(self._ws.send(event.response()))
                    self._transport.close()
        except RemoteProtocolError as error:
            if error.event_hint is not None:
                self._transport.write(self._ws.send(error.event_hint))
            self._transport.close()
        except LocalProtocolError:  # the client goes on after good-bye was said
            self._transport.close()

    def _echo(self, event: Message) -> None:
        if event.message_finished:
            self._pod.spend(self._place.container)
        self._transport.write(self._ws.send(event))

    def eof(self) -> None: ...

    def stopping(self) -> None: ...

    def end(self) -> None:
        try:
            self._transport.write(self._ws.send(CloseConnection(code=GOING_AWAY, reason="the pod has ended")))
        except LocalProtocolError:  # it was never opened, or is closed
            return
