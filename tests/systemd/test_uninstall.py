"""scripts/deploy.sh --uninstall. It runs last, because it removes what the other tests use."""

from tests.support.deployment import ENVIRONMENT, FIRST, SECOND, Deployment


def test_uninstall_keeps_the_configuration_unless_told_otherwise(
    deployed: Deployment,
) -> None:
    machine = deployed.machine
    machine.run("systemctl", "enable", "--now", SECOND)
    own = machine.path("/etc/systemd/system/quantum-marketstate.service.d/override.conf")
    own.write_text("[Service]\nNice=5\n")
    asking = f"{deployed.checkout}/scripts/deploy.sh --uninstall"
    answered = machine.run("script", "-qec", asking, "/dev/null", text_in="n\n").stdout
    assert "Remove the configuration" in answered
    assert "The configuration in /etc/quantum is kept" in answered
    assert machine.path(ENVIRONMENT).exists()
    assert "Nice=5" in own.read_text(), "the user's own files are kept"
    own.unlink()
    for unit in (FIRST, SECOND):
        assert machine.show(unit, "LoadState", "ActiveState") == ["not-found", "inactive"]
    for path in ("/opt/quantum/marketstate", "/usr/local/sbin/quantum-marketstate"):
        assert not machine.path(path).exists(), path
    with machine.redis() as client:
        assert client.exists("quantum:marketstate-worker:marketstate:meta")

    deployed.deploy("--uninstall", "--yes")
    assert not machine.path("/etc/quantum").exists()
    names = ("find", "/etc", "/opt", "/usr/local", "-name", "*marketstate*")
    assert machine.run(*names).stdout == ""
