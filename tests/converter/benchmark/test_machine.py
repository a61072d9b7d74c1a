"""Facts of the computer, read from files of Linux."""

from pathlib import Path

from converter.benchmark.machine import MachineState, is_busy, machine_state, read_machine

CPUINFO_PI = "processor\t: 0\nCPU architecture: 8\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
CPUINFO_X86 = "processor\t: 0\nmodel\t\t: 143\nmodel name\t: Some CPU @ 2 GHz\n"


def proc(folder: Path, cpuinfo: str) -> Path:
    (folder / "cpuinfo").write_text(cpuinfo)
    (folder / "meminfo").write_text("MemTotal:        8243200 kB\nMemFree: 1 kB\n")
    return folder


def test_processor_and_board_names_are_read(tmp_path: Path) -> None:
    found = read_machine(proc(tmp_path, CPUINFO_PI))
    assert (found.cpu, found.memory_mib) == ("Raspberry Pi 5 Model B Rev 1.0", 8050)
    assert read_machine(proc(tmp_path, CPUINFO_X86)).cpu == "Some CPU @ 2 GHz"
    assert found.cores >= 1 and found.packages["numpy"]


def test_missing_system_files_give_none(tmp_path: Path) -> None:
    found = read_machine(tmp_path / "none")
    assert found.memory_mib is None and found.cpu
    assert machine_state(tmp_path / "none").governors is None


def test_governors_of_all_cores_are_read(tmp_path: Path) -> None:
    for core, governor in enumerate(["schedutil", "performance", "schedutil"]):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    assert machine_state(tmp_path).governors == ("performance", "schedutil")


def test_a_high_load_means_busy() -> None:
    def at(load: float | None) -> MachineState:
        return MachineState(None, None, None, load)

    assert is_busy(at(2.5), 4) and not is_busy(at(0.2), 4) and not is_busy(at(None), 4)
