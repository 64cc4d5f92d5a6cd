"""The booted machine itself, on which the other tests here rely."""

from pathlib import Path

from tests.support.machine import Machine


def test_a_systemd_boots_and_runs_redis_as_a_unit(machine: Machine) -> None:
    assert machine.run("systemctl", "is-system-running").stdout.strip() == "running"
    assert machine.show("redis-server", "ActiveState", "SubState") == ["active", "running"]
    with machine.redis() as client:
        assert client.ping()


def test_nothing_inside_is_visible_outside(machine: Machine) -> None:
    machine.run("touch", "/etc/only-inside", "/tmp/only-inside")
    assert machine.path("/etc/only-inside").exists()
    assert not Path("/etc/only-inside").exists()
    assert not Path("/tmp/only-inside").exists()
    assert machine.run("ls", "/sys/class/net").stdout.split() == ["lo"]
