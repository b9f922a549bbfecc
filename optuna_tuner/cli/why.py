"""The command that says what the flags of the best trial are worth."""

from __future__ import annotations

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.output import document_option, dump, print_rows
from optuna_tuner.cli.session import Session
from optuna_tuner.results.wording import word


@command(example="optuna-tuner why my-study\noptuna-tuner why my-study -o json | jq .needed")
@click.argument("study")
@document_option
@pass_session
def why(session: Session, study: str, output: str) -> None:
    """Say what each flag of the best trial is worth, and which are enough.

    What is lost where one flag alone is left to the engine's default, the fewest flags that keep the gain, and what
    more trials could bring. All of it is predicted from the trials so far, not measured; what was measured of leaving
    flags out (confirm.simplify) is said below.
    """
    from optuna_tuner.results.simplified import simplified_text  # noqa: PLC0415  only this command needs it
    from optuna_tuner.results.why import UNKNOWN, why_document  # noqa: PLC0415  it brings Optuna with it

    found = session.tuner.why(study)
    if output != "table":
        dump(why_document(found), output)
        return
    if found.worths is None or not found.worths.flags:
        session.out.print(UNKNOWN, soft_wrap=True)
    else:
        titles = ("flag", "default", f"best (trial {found.number})", "worth", "±", "needed")
        rows = [
            (
                each.flag,
                "not known" if each.default is None else word(each.default),
                word(each.value),
                "" if each.loss is None else f"{100 * each.loss.share:.1f} %",
                "" if each.loss is None else f"{100 * each.loss.error:.1f} %",
                each.needed,
            )
            for each in found.worths.flags
        ]
        print_rows(session, titles, rows)
        session.out.print(f"\n{found.text}", soft_wrap=True)
    if found.simplification:
        session.out.print(f"\n{simplified_text(found.simplification)}", soft_wrap=True)
    if found.ahead:
        session.out.print(found.ahead)
