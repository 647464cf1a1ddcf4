#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The exporter's page in Chromium, with planted services. Run by scripts/test-page as root, in a network
namespace of its own.

usage: test_page.py TCPSTAT [--draw]
"""

import collections
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

TCPSTAT = os.path.abspath(sys.argv[1])
DRAW = "--draw" in sys.argv[2:]
ADDRESS = "127.0.0.1:10069"
STUCK, LEAKY, FINE = 8500, 8080, 443
# How long anything may take on a busy machine, in seconds.
PATIENCE = 60
SIZES = {"wide": (1280, 800), "phone": (360, 640)}
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update"]
START = time.monotonic()


def step(text):
    print(f"{time.monotonic() - START:4.0f} s  {text}")


def wait_for(what, is_so):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = is_so()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {PATIENCE} s")


def listen(port, backlog, reuse=False):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(("127.0.0.1", port))
    one.listen(backlog)
    one.setblocking(False)
    return one


class Services:
    """Four workers at one port of which one is stuck, a service that leaks when told to, one that is
    fine, and 30 that are idle."""

    def __init__(self):
        self.kept = [listen(port, 128) for port in range(9000, 9030)]
        workers = [listen(STUCK, 64, reuse=True) for _ in range(4)]
        self.kept += workers
        for _ in range(40):
            for _ in range(20):
                self.connect(STUCK)
            time.sleep(0.02)
            for worker in workers[1:]:
                self.accept(worker)
        self.leaky, fine = listen(LEAKY, 128), listen(FINE, 128)
        self.kept.append(fine)
        for _ in range(50):
            self.connect(FINE)
            self.accept(fine)
        self.leaks = False
        threading.Thread(target=self.leak, daemon=True).start()

    def connect(self, port):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        self.kept.append(one)

    def accept(self, listener):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.kept.append(listener.accept()[0])

    def leak(self):
        for _ in range(600):
            while not self.leaks:
                time.sleep(0.1)
            with socket.create_connection(("127.0.0.1", LEAKY)):
                pass
            time.sleep(0.3)
            self.accept(self.leaky)


class Exporter:
    """The exporter with its page."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.start()

    def start(self):
        command = [TCPSTAT, "exporter", "--web.page", "--web.listen-address", ADDRESS, "--log.level", "warn"]
        self.process = subprocess.Popen([*command, *self.arguments])
        wait_for("the exporter", self.answers)

    def answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 10069)).close()
            return True

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def ss():
    """Sockets by state, and by state and local port, as ss lists them."""
    names = {"ESTAB": "ESTABLISHED", "UNCONN": "CLOSE", "FIN-WAIT-1": "FIN_WAIT1", "FIN-WAIT-2": "FIN_WAIT2"}
    output = subprocess.run(["ss", "-Htan"], check=True, capture_output=True, text=True).stdout
    states, ports = collections.Counter(), collections.Counter()
    for line in output.splitlines():
        state, _, _, local, _ = line.split()[:5]
        states[names.get(state, state.replace("-", "_"))] += 1
        ports[int(local.rsplit(":", 1)[1])] += 1
    return states, ports


class Page:
    """A page in a browser, on which nothing may go wrong unseen."""

    def __init__(self, browser, name, size, scheme="light", bypass_csp=False, url=f"http://{ADDRESS}/", **options):
        self.name = name
        width, height = SIZES.get(size, size)
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme,
                                           bypass_csp=bypass_csp, **options)
        self.page = self.context.new_page()
        self.complaints, self.foreign = [], []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self.requested)
        self.page.goto(url)
        self.live()

    def requested(self, request):
        if not request.url.startswith((f"http://{ADDRESS}/", "data:,")):
            self.foreign.append(request.url)

    def live(self):
        self.page.wait_for_selector("[data-status=live]", timeout=1000 * PATIENCE)

    def body(self, name):
        return self.page.get_attribute("body", f"data-{name}")

    def figures(self):
        """The figures of one reading, all of them at one time."""
        return self.page.evaluate("""() => ({
            reading: document.body.dataset.reading,
            states: Object.fromEntries([...document.querySelectorAll("#states [data-state]")].map((row) =>
                [row.dataset.state, Number(row.querySelector("[data-count]").dataset.count)])),
            ports: Object.fromEntries([...document.querySelectorAll("#services [data-port]")].map((row) =>
                [row.dataset.port, Number(row.querySelector("[data-total]").dataset.total)])),
        })""")

    def is_on_first_screen(self, selector):
        box = self.page.locator(selector).first.bounding_box()
        size = self.page.viewport_size
        return box and box["x"] >= 0 and box["y"] >= 0 and box["y"] + box["height"] <= size["height"] \
            and box["x"] + box["width"] <= size["width"]

    def overflow(self):
        return self.page.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")

    def refused(self):
        """Refused connections are in Chromium's console, and no fault of the page."""
        self.complaints = [text for text in self.complaints if "ERR_" not in text]

    def close(self):
        assert not self.complaints, f"{self.name}: {self.complaints}"
        assert not self.foreign, f"{self.name}: requests to elsewhere: {self.foreign}"
        self.context.close()


def figures_are_those_of_ss(page):
    """Nothing changes but the browser's own connections; two lists of ss that agree are compared with the
    reading between them."""
    for _ in range(20):
        before = ss()
        last = page.body("reading")
        wait_for("another reading", lambda: page.body("reading") != last)
        figures = page.figures()
        if before == ss():
            states, ports = before
            shown = {state: count for state, count in figures["states"].items() if count and state != "total"}
            assert shown == dict(states), f"{shown} instead of {dict(states)}"
            assert figures["states"]["total"] == sum(states.values())
            for port, total in figures["ports"].items():
                assert total == ports[int(port)], f"port {port}: {total} instead of {ports[int(port)]}"
            assert len(figures["ports"]) == 34, sorted(figures["ports"])
            return
    raise AssertionError("sockets came and went all the time")


def the_stuck_worker_is_on_the_first_screen(page):
    wrong = f'[data-wrong-port="{STUCK}"]'
    text = page.page.text_content(wrong)
    assert "accept queue full: 65 of 64 wait" in text, text
    assert page.is_on_first_screen(wrong), page.name
    row = page.page.get_attribute(f'#services [data-port="{STUCK}"]', "data-symptoms")
    assert "queue_full" in row.split(), row


def everything_works_by_keyboard(page):
    keyboard = page.page.keyboard

    def focused():
        return page.page.evaluate("document.activeElement.textContent")

    def tab_to(text):
        for _ in range(100):
            if focused().strip() == text:
                return
            keyboard.press("Tab")
        raise AssertionError(f"{text} cannot be reached by Tab")

    page.page.evaluate("document.activeElement.blur()")
    tab_to(f"Port {STUCK}")
    keyboard.press("Enter")
    page.page.wait_for_selector(f'#service[data-port="{STUCK}"] [data-listener]', timeout=1000 * PATIENCE)
    assert focused() == f"Port {STUCK}"
    listeners = page.page.locator("#service [data-listener]").all_text_contents()
    assert len(listeners) == 4 and sum("65/64" in one for one in listeners) == 1, listeners
    assert page.page.locator("#service [data-peer]").first.text_content().startswith("127.0.0.1")
    # Units, or why they are not known.
    assert page.page.locator("#service [data-unit]").count() or page.page.text_content("#service-errors")
    keyboard.press("Escape")
    assert page.page.is_hidden("#service")
    assert focused() == f"Port {STUCK}", focused()
    tab_to("CLOSE_WAIT")
    keyboard.press("Enter")
    assert "the program on this side has not closed" in page.page.text_content("#explain-CLOSE_WAIT")
    assert page.page.is_visible("#explain-CLOSE_WAIT")
    keyboard.press("Enter")
    assert page.page.is_hidden("#explain-CLOSE_WAIT")
    tab_to("Sockets")
    keyboard.press("Enter")
    totals = [int(text.replace(",", "")) for text in page.page.locator("#services [data-total]").all_text_contents()]
    assert totals == sorted(totals, reverse=True), totals
    page.page.fill("#filter", str(FINE))
    assert page.page.locator("#services tr").count() == 1
    page.page.fill("#filter", "")


def it_recovers(page, exporter):
    states = page.figures()["states"]
    exporter.kill()
    page.page.wait_for_selector("[data-status=old]", timeout=1000 * PATIENCE)
    status = page.page.text_content("#status")
    assert status.startswith("OLD, since ") and "does not answer" in status, status
    assert page.figures()["states"] == states, "figures are kept"
    page.page.screenshot(path="target/page/old.png")
    last = page.body("reading")
    exporter.start()
    page.live()
    wait_for("new figures", lambda: page.body("reading") != last)
    page.refused()


def pages():
    """How many event streams are open at the exporter."""
    output = subprocess.run(["ss", "-Htn", "state", "established", "sport", "= :10069"], check=True,
                            capture_output=True, text=True).stdout
    return len(output.splitlines())


def a_hidden_tab_costs_nothing(page):
    # A tab cannot be hidden without a window, so the page is told that it is.
    see = """(state) => {
        Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.page.evaluate(see, "hidden")
    last = page.body("reading")
    wait_for("the end of the stream", lambda: pages() == 0)
    time.sleep(3)
    assert page.body("reading") == last
    page.page.evaluate(see, "visible")
    wait_for("new figures", lambda: page.body("reading") != last)


def axe(page, name):
    page.page.screenshot(path=f"target/page/{name}.png", full_page=True)
    results = Axe().run(page.page, options={"resultTypes": ["violations"]})
    assert results.violations_count == 0, f"{name}: {results.generate_report()}"


def axe_finds_nothing(browser, exporter):
    # axe is a script of its own, which the page's policy would refuse.
    for size in SIZES:
        for scheme in ("light", "dark"):
            page = Page(browser, f"{size}-{scheme}", size, scheme, bypass_csp=True)
            axe(page, page.name)
            page.page.click(f'#services [data-opens="{STUCK}"]')
            page.page.wait_for_selector("#service [data-listener]", timeout=1000 * PATIENCE)
            page.page.click("#states [data-state=CLOSE_WAIT] button")
            axe(page, f"{page.name}-opened")
            exporter.kill()
            page.page.wait_for_selector("[data-status=old]", timeout=1000 * PATIENCE)
            axe(page, f"{page.name}-old")
            exporter.start()
            page.live()
            page.refused()
            page.close()


def it_needs_the_password(browser):
    # bcrypt's hash of "secret".
    hashed = "$2b$04$GX4g9k3DnE4Z2SCOkt7SNOOdJ6ks92EOuWYyWwyjr1r50PCeizgxu"
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        config.write(f"basic_auth_users: {{ann: '{hashed}'}}\n")
        config.flush()
        exporter = Exporter("--web.config.file", config.name)
        try:
            urllib.request.urlopen(f"http://{ADDRESS}/")
            raise AssertionError("no password is needed")
        except urllib.error.HTTPError as error:
            assert error.code == 401
        page = Page(browser, "users", "wide", http_credentials={"username": "ann", "password": "secret"})
        assert page.figures()["states"]["LISTEN"] > 0
        page.close()
        exporter.kill()


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    services = Services()
    exporter = Exporter()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        page = Page(browser, "wide", "wide")
        try:
            figures_are_those_of_ss(page)
            step("figures are those of ss: each state, the total, and each of 34 ports")
            the_stuck_worker_is_on_the_first_screen(page)
            phone = Page(browser, "phone", "phone", has_touch=True)
            the_stuck_worker_is_on_the_first_screen(phone)
            phone.close()
            step("the stuck worker of four is on the first screen, at 1280x800 and at 360x640")
            everything_works_by_keyboard(page)
            step("by keyboard: a service opens and closes, CLOSE_WAIT is explained, services are sorted and filtered")
            for width in (320, 360, 412, 768, 1280):
                narrow = Page(browser, f"{width}", (width, 800))
                assert narrow.overflow() <= 0, f"{width}: wider by {narrow.overflow()}"
                narrow.page.click(f'#services [data-opens="{STUCK}"]')
                narrow.page.wait_for_selector("#service [data-listener]", timeout=1000 * PATIENCE)
                assert narrow.overflow() <= 0, f"{width}, opened: wider by {narrow.overflow()}"
                narrow.close()
            step("no page is wider than its screen, from 320 to 1280 px")
            a_hidden_tab_costs_nothing(page)
            step("a hidden tab closes its stream, and opens it again")
            services.leaks = True
            page.page.wait_for_selector(f'#wrong .alarm[data-wrong-port="{LEAKY}"]', timeout=2000 * PATIENCE)
            assert "CLOSE_WAIT grows" in page.page.text_content(f'[data-wrong-port="{LEAKY}"]')
            assert page.is_on_first_screen(f'[data-wrong-port="{LEAKY}"]')
            step("the leak is on the first screen")
            if DRAW:
                page.page.screenshot(path="docs/page.png")
                step("drawn: docs/page.png")
            it_recovers(page, exporter)
            step("the exporter is killed: OLD, and the figures stay; started again: live by itself")
            axe_finds_nothing(browser, exporter)
            page.live()
            page.refused()
            step("axe-core finds nothing: wide and phone, light and dark, with an open service, and OLD")
            page.close()
            exporter.kill()
            it_needs_the_password(browser)
            step("with users: 401 without a password, live with it; no request to elsewhere, no complaint")
        except BaseException:
            with contextlib.suppress(Exception):
                page.page.screenshot(path="target/page/failed.png")
            raise
        finally:
            browser.close()
            exporter.process.kill()


main()
