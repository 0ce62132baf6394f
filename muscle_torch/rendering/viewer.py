"""Browser viewer with viser: bones, muscles colored by activation, the reference as a ghost.

Requires the extra `viewer`. Every page has its own playback (`muscle_torch.rendering.player`); this file connects it
with the page's scene and controls.
"""

import math
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import viser

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .body_scene import BodyScene, Page
from .live import LivePlayer, Steer
from .muscle_chart import chart_html, chart_rows
from .player import Player

FPS = 30
# Keys as on a numeric keypad, seen from above with x to the right -> heading in the world [degrees]; 5 stops.
HEADINGS = {"6": 0, "9": 45, "8": 90, "7": 135, "4": 180, "1": 225, "2": 270, "3": 315}
STOP_KEY = "5"
WALK = 1.3  # [m/s], initial value of the slider
CHART_EVERY = 3  # frames between updates of the chart: HTML is more expensive to send than poses
SPEEDS = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0}
NONE = "none"


class Viewer:
    """The server: opens a `BrowserPage` for each browser page that connects, and runs the clock."""

    def __init__(self, player: Player | LivePlayer, embodiment: Embodiment, host: str = "127.0.0.1", port: int = 8080):
        """Start the server.

        Args:
            player: Playback state, copied for each page; or a simulation, which all pages share and may steer.
            embodiment: The body.
            host: Address to listen on.
            port: Port; the next free one if it is in use.

        Raises:
            InputError: The address or port is invalid.
        """
        self.server = _serve(host, port)
        self.player, self.embodiment = player, embodiment
        self.pages: dict[int, BrowserPage] = {}
        self.server.on_client_connect(self._open)
        self.server.on_client_disconnect(self._forget)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def run(self) -> None:
        """Play until interrupted."""
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection")  # a page was closed during a frame
        last = time.monotonic()
        while True:
            time.sleep(max(0.0, last + 1 / FPS - time.monotonic()))
            now = time.monotonic()
            self.tick(now - last)
            last = now

    def tick(self, seconds: float) -> None:
        """Advance all pages by `seconds` and redraw those that changed."""
        for page in list(self.pages.values()):
            page.tick(seconds)

    def close(self) -> None:
        """Stop the server."""
        with redirect_stdout(None):
            self.server.stop()

    def _open(self, client: viser.ClientHandle) -> None:
        """Show the body on a new page, with the camera near it."""
        page = BrowserPage(client, self.player.copy(), self.embodiment)
        client.camera.position, client.camera.look_at = page.scene.look()
        self.pages[client.client_id] = page

    def _forget(self, client: viser.ClientHandle) -> None:
        self.pages.pop(client.client_id, None)


class BrowserPage:
    """One page: a `BodyScene`, controls, and a playback state of its own."""

    def __init__(self, page: Page, player: Player | LivePlayer, embodiment: Embodiment):
        """Add the scene and the controls.

        Args:
            page: The client's page.
            player: Playback state of this page, or the simulation.
            embodiment: The body.
        """
        self.page, self.player, self.embodiment = page, player, embodiment
        self.scene = BodyScene(page, embodiment)
        self._rows = chart_rows(embodiment.groups, embodiment.left_right, embodiment.muscle_names)
        self._count, self._changed = 0, True
        self._add_controls()
        self.refresh()

    def tick(self, seconds: float) -> None:
        """Advance by `seconds` and redraw if anything changed."""
        if self.player.advance(seconds) or self._changed:
            self._changed = False
            self.refresh()

    def refresh(self) -> None:
        """Draw the player's current frame and update the controls."""
        frame = self.player.frame
        self.scene.draw(frame, self.ghost.value, self.follow.value, self._highlighted())
        self.slider.value = min(round(self.player.time, 2), self.slider.max)
        if self._count % CHART_EVERY == 0 or not self.player.playing:
            rows, names = self._rows.get(self.group.value, []), self.embodiment.muscle_names
            self.chart.content = chart_html(rows, names, frame.activation)
        self._count += 1

    def _add_controls(self) -> None:
        gui, player = self.page.gui, self.player
        self.source = gui.add_dropdown("policy", player.source_names, initial_value=player.source)
        self.clip = gui.add_dropdown("motion", player.clip_names, initial_value=player.trajectory.name)
        self.play = gui.add_button("pause")
        self.slider = gui.add_slider("time [s]", 0.0, max(player.trajectory.seconds, 0.01), 0.01, 0.0)
        self.speed = gui.add_dropdown("speed", tuple(SPEEDS), initial_value="1")
        self.ghost = gui.add_checkbox("reference", True)
        self.follow = gui.add_checkbox("follow", True, visible=self.embodiment.root_joint is not None)
        names = self.embodiment.muscle_names
        self.highlight = gui.add_dropdown("highlight", (NONE, *names), initial_value=NONE, hint="a muscle to show")
        if isinstance(player, LivePlayer) and player.steer is not None:
            self._add_steering(player.steer)
        with gui.add_folder("muscle activation"):
            self.group = gui.add_dropdown("group", tuple(self._rows) or (NONE,))
            self.chart = gui.add_html("")
        self.source.on_update(self._user_callback(lambda: self._choose_source(self.source.value)))
        self.clip.on_update(self._user_callback(lambda: self._choose_clip(self.clip.value)))
        self.slider.on_update(self._user_callback(lambda: player.seek(self.slider.value)))
        self.play.on_click(self._user_callback(self._toggle))
        self.speed.on_update(self._user_callback(lambda: setattr(player, "speed", SPEEDS[self.speed.value])))
        for switch in (self.ghost, self.follow, self.highlight, self.group):
            switch.on_update(self._user_callback(lambda: None))

    def _add_steering(self, steer: Steer) -> None:
        """Add a slider of the speed, and a button and a key for each heading and to stop."""
        with self.page.gui.add_folder("direction"):
            self.walking_speed = self.page.gui.add_slider("speed [m/s]", 0.1, 3.0, 0.1, WALK)
            for key, degrees in HEADINGS.items():
                walk = partial(self._walk, steer, math.radians(degrees))
                self._add_command(key, f"{degrees} degrees", walk)
            self._add_command(STOP_KEY, "stop", partial(steer, 0.0, 0.0))

    def _walk(self, steer: Steer, heading: float) -> None:
        steer(heading, self.walking_speed.value)

    def _add_command(self, key: Any, label: str, act: Callable[[], None]) -> None:
        respond = self._user_callback(act)
        self.page.gui.add_button(f"{label} (key {key})").on_click(respond)
        self.page.gui.add_command(f"walk: {label}", hotkey=key).on_trigger(respond)

    def _user_callback(self, act: Any) -> Any:
        """Wrap `act` as a callback that ignores changes made by the program itself."""

        def respond(event: Any) -> None:
            if event.client is None:
                return
            try:
                act()
            except InputError as error:
                event.client.add_notification("Cannot show this", str(error), color="red")
            self._changed = True

        return respond

    def _highlighted(self) -> int | None:
        """Return the id of the muscle to highlight."""
        names = self.embodiment.muscle_names
        return names.index(self.highlight.value) if self.highlight.value in names else None

    def _toggle(self) -> None:
        self.player.playing = not self.player.playing
        self.play.label = "pause" if self.player.playing else "play"

    def _choose_source(self, name: str) -> None:
        self.source.disabled = True  # loading a source may take a while
        try:
            self.player.choose_source(name)
        finally:
            self.source.disabled, self.source.value = False, self.player.source
        self.clip.options = self.player.clip_names
        self.clip.value = self.player.trajectory.name
        self._fit_slider()

    def _choose_clip(self, name: str) -> None:
        self.player.choose_clip(name)
        self._fit_slider()

    def _fit_slider(self) -> None:
        self.slider.max = max(self.player.trajectory.seconds, 0.01)


def _serve(host: str, port: int) -> viser.ViserServer:
    """Start a server on `port`, or on the next free port if it is in use."""
    if not 0 < port < 2**16:
        raise InputError(f"port={port}: choose one between 1024 and 65535")
    try:
        with socket.create_server((host, 0)):  # viser would wait forever
            pass
    except OSError as error:
        raise InputError(f"host={host} is not an address of this machine ({error.strerror}): use 127.0.0.1") from None
    with redirect_stdout(None):  # suppress viser's banner
        return viser.ViserServer(host, port, label="muscle_torch", verbose=False)
