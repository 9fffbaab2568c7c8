"""Where networks run."""

import onnxruntime
import pytest

from models.runtime import open_session
from models.vad import BUNDLED
from shared.domain.errors import ModelInstallError


def test_a_network_runs_on_the_cpu() -> None:
    assert open_session(BUNDLED).get_providers() == ["CPUExecutionProvider"]


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this runtime has CUDA")
def test_a_device_the_runtime_does_not_have_is_refused_plainly() -> None:
    with pytest.raises(ModelInstallError, match="cannot compute on cuda; install onnxruntime-gpu"):
        open_session(BUNDLED, device="cuda")


def test_a_network_that_would_fall_back_to_the_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" in known:
        pytest.skip("this runtime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *known])
    with pytest.warns(UserWarning), pytest.raises(ModelInstallError, match="found no card"):
        open_session(BUNDLED, device="cuda")
