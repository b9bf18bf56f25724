"""Addresses of schedulers: silent, wrong, or asking for certificates."""

import socket
import sys
import threading

import pytest
import torch
from dask import config as dask_config

from faithnb import Experiment, ParameterError
from faithnb.sweeps import cluster
from faithnb.sweeps.cluster import connect
from faithnb.sweeps.tasks import SweepError

SMALL = Experiment(d_in=6, d_sae=16, batch_size=32, steps=30, repeat_frac=0.1)


CPU = torch.device("cpu")


@pytest.fixture
def silent():
    """The address of a port that accepts and says nothing."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        port.listen(5)
        yield f"tcp://127.0.0.1:{port.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("tcp://127.0.0.1:9", r"127.0.0.1:9 \(.*refused\)"),
        ("tcp://[::1]:9", r"\(.*\)"),
        ("tcp://there.is.no.such.host.invalid:8786", r"\(.*\)"),
        (f"tcp://{'a' * 300}:8786", r"\(.*too long.*\)"),
    ],
)
def test_an_address_where_nobody_is_does_not_reach_dask(address, reason, monkeypatch):
    monkeypatch.setattr("distributed.Client", None)
    with pytest.raises(SweepError, match=f"^Nobody answers at .*{reason}. Is a scheduler running"):
        connect(address)


def test_a_port_that_says_nothing(silent, monkeypatch):
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 1)
    with pytest.raises(SweepError, match=f"Nobody answers at {silent} within 1 seconds. Is a"):
        connect(silent)


def test_a_port_that_says_nothing_to_dask_alone(silent, monkeypatch):
    """It was greeted; whatever Dask waits for then, it is not waited for with it."""
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 1)
    monkeypatch.setattr("asyncio.run", lambda greeting: greeting.close())
    with pytest.raises(SweepError, match=f"Nobody answers at {silent} within 1 seconds. Is a"):
        connect(silent)


def test_a_port_that_speaks_something_else():
    with socket.create_server(("127.0.0.1", 0)) as port:

        def answer():
            with port.accept()[0]:
                pass  # who only knocks
            with port.accept()[0] as caller:
                caller.recv(100)
                caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(SweepError, match="what answers there is no Dask scheduler"):
            connect(f"tcp://127.0.0.1:{port.getsockname()[1]}")


def test_certificates_are_asked_for(silent, tmp_path):
    address = silent.replace("tcp", "tls")
    with pytest.raises(SweepError, match="needs certificates, and Dask's configuration names none"):
        connect(address)
    (tmp_path / "ca.pem").write_text("no certificate")
    names = {"ca-file": str(tmp_path / "ca.pem"), "client": {"cert": str(tmp_path / "ca.pem")}}
    with (
        dask_config.set({"distributed.comm.tls": names}),
        pytest.raises(SweepError, match="the certificates in .* cannot be used"),
    ):
        connect(address)


@pytest.mark.parametrize(
    "scheduler",
    ["here", "", None, ["local"], "local\n", "tcp://", "tcp://host", "tcp://:8786", "http://host:1",
     "tcp://host:0", "tcp://host:65536", "tcp://host:" + "9" * 5000, "tcp://::1:8786",
     "tcp://a@b:8786"],
)  # fmt: skip
def test_what_is_no_address_is_refused(scheduler):
    with pytest.raises(ParameterError, match="scheduler = .* it must be 'local' or the address"):
        connect(scheduler)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True, float("nan"), float("inf")])
def test_what_is_no_number_of_workers_is_refused(n):
    with pytest.raises(ParameterError, match="n_workers = .* a whole number of at least 1"):
        connect("local", n)


def test_worker_processes_that_do_not_start(monkeypatch):
    def fails(**_):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", fails)
    with pytest.raises(SweepError, match=r"could not be started here \(Nanny failed to start\)"):
        connect("local", 7)


def test_dask_is_asked_for_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ParameterError, match=r"needs Dask: pip install 'faithnb\[cluster\]'"):
        connect("tcp://127.0.0.1:10")


def test_a_closed_cluster_is_started_again():
    first = connect("local", 1)
    assert connect("local", 1) is first
    first.shutdown()
    second = connect("local", 1)
    assert second is connect("local", 1) is not first
    assert second._client is first._client
    assert second.submit(max, 1, 2).result() == 2
    first._client.cluster.close()
    first._client.close()
    again = connect("local", 1)
    assert again is not first
    assert again.submit(max, 1, 2).result() == 2
    again._client.cluster.close()
    again._client.close()
