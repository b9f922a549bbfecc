"""The command line: a skin over `Tuner`."""


def main() -> None:
    """Run the command line; the process ends with one of the documented exit codes."""
    from optuna_tuner.cli.app import cli  # noqa: PLC0415  importing the package must cost nothing
    from optuna_tuner.cli.faults import report_bugs  # noqa: PLC0415  likewise

    report_bugs()
    cli(prog_name="optuna-tuner")
