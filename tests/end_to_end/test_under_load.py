"""Changes under load: no other route fails a request."""

import threading

from tests.end_to_end.load import Load
from tests.end_to_end.stack import Stack

RATE = 300


def test_a_changed_route_under_load_fails_no_request_of_the_others(deployed: Stack) -> None:
    others = ["embedding", "granite-3.3-8b", "llamacpp", "search"]
    address = deployed.settings["traefik"]["websecureAddress"]
    load = Load(address, [f"{name}.internal.phoenix.test" for name in others], RATE, limit_seconds=60)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        load.wait_for(100)
        for port in ("11434:11434", "11435:11434"):
            guests = deployed.guests()
            guests["914"]["ports"] = [port]
            guests["914"]["name"] = "ollama" if port.startswith("11434") else "ollama-renamed"
            deployed.write_guests(guests)
            deployed.up()
        load.wait_for(load.sent + 100)
    finally:
        load.stop()
        thread.join()
    assert load.failures == {}
    assert load.sent >= 300
    assert deployed.ask("ollama-renamed.internal.phoenix.test")[0] == 200
    assert deployed.ask("ollama.internal.phoenix.test")[0] == 404
