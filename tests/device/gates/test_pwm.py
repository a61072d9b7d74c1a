"""One PWM channel, on a /sys/class/pwm that answers as the kernel does."""

import errno
from typing import Any

import pytest

from device.gates import GateError
from device.gates.pwm import PwmChannel, PwmWiring


def channel(kernel: Any, chip: int | str = 2, number: int = 0, period_us: float = 20000, **how: Any) -> PwmChannel:
    return PwmChannel("gate paper", PwmWiring(chip, number, period_us), root=kernel.path, **how)


def test_a_fresh_channel_is_exported_and_silent(kernel: Any) -> None:
    channel(kernel)
    assert kernel.writes == [("export", "0"), ("period", "20000000")]
    assert kernel.state[kernel.root / "pwmchip2/pwm0"]["enable"] == 0


def test_the_chip_is_found_by_its_device_name(kernel: Any) -> None:
    channel(kernel, chip="1f00098000.pwm", number=3).set_pulse(1500)
    assert kernel.state[kernel.root / "pwmchip2/pwm3"]["duty_cycle"] == 1_500_000


def test_a_pca9685_that_starts_with_pulses_is_switched_off(kernel: Any) -> None:
    kernel.fresh = {"period": 5_079_040, "duty_cycle": 0, "enable": 1, "polarity": "normal"}
    channel(kernel, chip="1-0040", number=15)
    assert kernel.writes == [("export", "15"), ("enable", "0"), ("period", "20000000")]


def test_pulses_of_a_killed_process_are_stopped_and_their_length_kept(kernel: Any) -> None:
    kernel.fresh = {"period": 20_000_000, "duty_cycle": 1_250_000, "enable": 1, "polarity": "normal"}
    kernel.export(kernel.root / "pwmchip2/pwm0")
    left = channel(kernel)
    assert kernel.writes == [("enable", "0")]
    assert left.pulse_us == 1250


def test_a_period_below_the_old_pulse_is_accepted_by_the_kernel(kernel: Any) -> None:
    kernel.fresh = {"period": 20_000_000, "duty_cycle": 10_000_000, "enable": 0, "polarity": "inversed"}
    channel(kernel, period_us=5000)
    assert kernel.writes == [("export", "0"), ("duty_cycle", "0"), ("period", "5000000"), ("polarity", "normal")]


def test_pulses_are_set_switched_on_and_off(kernel: Any) -> None:
    pwm = channel(kernel)
    pwm.set_pulse(1234.5678)
    pwm.on()
    assert kernel.state[kernel.root / "pwmchip2/pwm0"] == {"period": 20_000_000, "duty_cycle": 1_234_568, "enable": 1, "polarity": "normal"}
    pwm.off()
    assert kernel.state[kernel.root / "pwmchip2/pwm0"]["enable"] == 0


def test_a_pulse_longer_than_the_period_is_an_error(kernel: Any) -> None:
    pwm = channel(kernel, period_us=3000)
    with pytest.raises(GateError, match=r"gate paper: cannot write 4000000 to .*pwm0/duty_cycle: Invalid argument"):
        pwm.set_pulse(4000)


def test_the_constructor_waits_until_udev_made_the_files_writable(kernel: Any) -> None:
    kernel.exports_at_once = False
    now_s = [0.0]

    def sleep(seconds: float) -> None:
        now_s[0] += seconds
        if now_s[0] > 0.5:
            kernel.finish_exports()

    channel(kernel, clock=lambda: now_s[0], sleep=sleep).set_pulse(1000)
    assert 0.5 < now_s[0] < 1.0


def test_files_that_stay_unwritable_are_an_error_after_two_seconds(kernel: Any) -> None:
    kernel.exports_at_once = False
    now_s = [0.0]

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    with pytest.raises(GateError, match=r"gate paper: .*pwmchip2/pwm0 may not be written; install 60-sortbin\.rules"):
        channel(kernel, clock=lambda: now_s[0], sleep=sleep)
    assert now_s[0] == pytest.approx(2.0, abs=0.05)


def test_a_missing_chip_lists_the_existing_ones(kernel: Any) -> None:
    with pytest.raises(GateError, match=r"no PWM chip 0 in .*, there is pwmchip10 \(1-0040\), pwmchip2 \(1f00098000\.pwm\)"):
        channel(kernel, chip=0)


@pytest.mark.parametrize("device", ["3f20c000.pwm", "fe20c000.pwm", "1f00098000.pwm"])
def test_without_a_chip_the_header_pwm_is_used_whatever_its_number(device: str, pwm_kernel: Any) -> None:
    """The kernel decides which chip is pwmchip0; with some it is the fan."""
    kernel = pwm_kernel({0: "1f0009c000.pwm", 3: "1-0040", 5: device})
    gate = PwmChannel("gate paper", PwmWiring("", 1, 20000), root=kernel.path)
    gate.set_pulse(1500)
    assert kernel.state[kernel.root / "pwmchip5/pwm1"]["duty_cycle"] == 1_500_000
    assert gate.output == f"channel 1 of pwmchip5 ({device})"


def test_without_a_chip_no_other_device_is_used(pwm_kernel: Any) -> None:
    kernel = pwm_kernel({0: "1f0009c000.pwm"})
    with pytest.raises(GateError, match=r"no PWM chip of a Pi's header in .*, there is pwmchip0 \(1f0009c000\.pwm\)"):
        PwmChannel("gate paper", PwmWiring("", 0, 20000), root=kernel.path)
    assert PwmChannel("gate paper", PwmWiring(0, 0, 20000), root=kernel.path).output == "channel 0 of pwmchip0 (1f0009c000.pwm, the fan of a Pi 5)"


def test_no_chip_at_all_says_what_is_missing(tmp_path: Any) -> None:
    with pytest.raises(GateError, match="there is none; a Pi needs an overlay, dtoverlay=pwm-2chan"):
        PwmChannel("gate paper", PwmWiring(0, 0, 20000), root=tmp_path / "nothing")


def test_a_channel_that_the_chip_lacks_is_an_error(kernel: Any) -> None:
    with pytest.raises(GateError, match=r"cannot write 4 to .*pwmchip2/export: No such device"):
        channel(kernel, number=4)


def test_a_channel_has_one_user_until_it_is_released(kernel: Any) -> None:
    first = channel(kernel)
    with pytest.raises(GateError, match=r"pwm0 is in use by another gate or another Sortbin"):
        channel(kernel)
    first.release()
    channel(kernel).set_pulse(900)


def test_a_released_channel_is_off_and_refuses_commands(kernel: Any) -> None:
    pwm = channel(kernel)
    pwm.set_pulse(1500)
    pwm.on()
    pwm.release()
    pwm.release()
    assert kernel.state[kernel.root / "pwmchip2/pwm0"]["enable"] == 0
    written = len(kernel.writes)
    with pytest.raises(GateError, match="has been released"):
        pwm.on()
    assert len(kernel.writes) == written


@pytest.mark.parametrize("attribute", ["enable", "period", "polarity"])
def test_a_channel_whose_setup_fails_is_released(kernel: Any, attribute: str) -> None:
    kernel.fresh = {"period": 5_000_000, "duty_cycle": 0, "enable": 1, "polarity": "inversed"}
    kernel.failing[attribute] = errno.EIO
    with pytest.raises(GateError, match=f"{attribute}: Input/output error"):
        channel(kernel)
    kernel.failing.clear()
    assert channel(kernel).pulse_us == 0


def test_a_failed_release_is_logged_and_unlocks_the_channel(kernel: Any, caplog: pytest.LogCaptureFixture) -> None:
    pwm = channel(kernel)
    kernel.failing["enable"] = errno.ENODEV
    pwm.release()
    assert "its pulses may still be on" in caplog.text
    kernel.failing.clear()
    channel(kernel).release()


def test_a_chip_that_vanishes_is_an_error_naming_the_file(kernel: Any) -> None:
    pwm = channel(kernel)
    for file in (kernel.root / "pwmchip2/pwm0").iterdir():
        file.unlink()
    with pytest.raises(GateError, match=r"cannot write 1000000 to .*duty_cycle: No such file or directory"):
        pwm.set_pulse(1000)
    with pytest.raises(GateError, match=r"cannot read .*duty_cycle: No such file or directory"):
        _ = pwm.pulse_us
