# ruff: noqa: D102, S101  these are pytest cases: a name is the promise, an assertion the check
"""What every engine plugin must keep: subclass `EngineCases`, name the engine, run pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import JsonValue, ValidationError

from optuna_tuner.contracts import Engine
from optuna_tuner.values import Cause, Endpoint, Launch, Model, Params, Scalar, Slot

NOBODY = Endpoint(url="http://127.0.0.1:1", model="nobody")  # port 1 refuses at once
TEXTS = some.text(max_size=300)
NAMES = some.from_regex(r"-{0,2}[a-zA-Z][a-zA-Z0-9_-]{0,30}", fullmatch=True)
VALUES = some.one_of(some.booleans(), some.integers(), some.floats(), some.text(max_size=20))


class EngineCases:
    """The promises of `optuna_tuner.contracts.Engine`, as pytest cases.

    Attributes:
        engine_class: the plugin.
        options: options that are enough to make one.
        good: parameters that the engine accepts on any slot; at least one flag.
        switch: a flag that takes true and false, both with an effect; None where the engine has none.
        aliases: other spellings of flags -> their canonical names.
        logs: logs -> (exit code, the cause that each must be read as).

    """

    engine_class: ClassVar[type[Engine]]
    options: ClassVar[Mapping[str, JsonValue]] = {}
    good: ClassVar[Params]
    switch: ClassVar[str | None] = None
    aliases: ClassVar[Mapping[str, str]] = {}
    logs: ClassVar[Mapping[str, tuple[int | None, Cause]]] = {}
    model: ClassVar[Model] = Model(name="tiny", path="/models/tiny", tokenizer="/models/tiny")
    slot: ClassVar[Slot] = Slot(name="slot-0", host="here")

    def engine(self, **more: JsonValue) -> Engine:
        """A new engine with the options, and more of them."""
        return self.engine_class(self.engine_class.Options.model_validate({**self.options, **more}))

    def launch(self, params: Params) -> Launch:
        """What a new engine renders."""
        return self.engine().render(self.model, params, self.slot)

    def test_a_plugin_says_what_it_is(self) -> None:
        assert self.engine_class.kind
        assert self.engine_class.summary

    def test_options_are_frozen_and_described(self) -> None:
        options = self.engine_class.Options
        assert options.model_config.get("frozen") is True
        assert all(field.description for field in options.model_fields.values())

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="no_such_option"):
            self.engine(no_such_option=1)

    def test_render_is_pure_and_stable(self) -> None:
        assert self.launch(self.good) == self.launch(self.good)

    def test_the_order_of_flags_changes_nothing(self) -> None:
        backwards = Params(flags=dict(reversed(list(self.good.flags.items()))), env=self.good.env)
        assert self.launch(backwards) == self.launch(self.good)

    @pytest.mark.parametrize("place", ["{host}", "{port}"])
    def test_the_address_has_its_place_exactly_once(self, place: str) -> None:
        assert self.launch(self.good).argv.count(place) == 1
        assert sum(place in argument for argument in self.launch(self.good).argv) == 1

    def test_a_launch_serves_the_model_that_was_asked_for(self) -> None:
        assert self.launch(self.good).model == self.model

    def test_a_launch_takes_no_more_gpus_than_the_slot_has(self) -> None:
        slot = Slot(name="slot-0", host="here", gpus=("GPU-1", "GPU-2"))
        assert self.engine().render(self.model, self.good, slot).gpus <= len(slot.gpus)
        assert self.launch(self.good).gpus == 0

    def test_a_flag_reaches_the_launch(self) -> None:
        assert self.launch(self.good) != self.launch(Params())

    def test_a_switch_has_two_sides(self) -> None:
        if self.switch is None:
            pytest.skip("this engine has no switch")
        on, off = (self.launch(Params(flags={self.switch: value})) for value in (True, False))
        assert on.argv != off.argv
        assert not {"True", "False", "true", "false"} & {*on.argv, *off.argv}

    def test_a_variable_reaches_the_environment(self) -> None:
        assert self.launch(Params(env={"SOME_VARIABLE": "7"})).env["SOME_VARIABLE"] == "7"

    def test_every_alias_means_its_canonical_flag(self) -> None:
        for alias, name in self.aliases.items():
            assert self.engine().canonical(alias) == name
            assert self.launch(Params(flags={alias: 3})) == self.launch(Params(flags={name: 3}))

    def test_canonical_is_idempotent_and_without_dashes(self) -> None:
        engine = self.engine()

        @given(NAMES)
        def check(flag: str) -> None:
            once = engine.canonical(flag)
            assert engine.canonical(once) == once
            assert "-" not in once

        check()

    def test_equal_configurations_have_one_identity(self) -> None:
        engine, flags = self.engine(), self.good.flags
        backwards = Params(flags=dict(reversed(list(flags.items()))), env=self.good.env)
        identity = engine.identity(self.model, self.good, self.slot)
        assert identity
        assert engine.identity(self.model, backwards, self.slot) == identity
        for alias, name in self.aliases.items():
            one, other = (engine.identity(self.model, Params(flags={each: 3}), self.slot) for each in (alias, name))
            assert one == other

    def test_another_launch_with_other_flags_or_variables_may_be_another_server(self) -> None:
        engine, default = self.engine(), self.engine().identity(self.model, Params(), self.slot)
        assert engine.identity(self.model, self.good, self.slot) != default
        variable = engine.identity(self.model, Params(env={"SOME_VARIABLE": "7"}), self.slot)
        assert variable == {**default, "$SOME_VARIABLE": "7"}

    def test_a_read_back_settles_only_what_it_tells(self) -> None:
        assert self.engine().settled({}) == frozenset()
        assert self.engine().settled({"no_such_flag": 1}) <= {"no_such_flag"}

    def test_good_parameters_are_not_rejected(self) -> None:
        assert self.engine().reject(self.model, self.good, self.slot) is None

    def test_reject_gives_a_reason_or_nothing_whatever_it_is_asked(self) -> None:
        engine = self.engine()

        @given(some.dictionaries(NAMES, VALUES, max_size=5))
        def check(flags: Mapping[str, Scalar]) -> None:
            reason = engine.reject(self.model, Params(flags=flags), self.slot)
            assert reason is None or reason.strip()

        check()

    def test_diagnose_never_raises(self) -> None:
        engine = self.engine()

        @given(TEXTS, some.one_of(some.none(), some.integers(-64, 255)))
        def check(log: str, exit_code: int | None) -> None:
            assert engine.diagnose(log, exit_code).evidence

        check()

    @pytest.mark.parametrize("log", ["", "\n\n", "all is well\nthen nothing"])
    def test_an_unknown_log_means_crashed(self, log: str) -> None:
        assert self.engine().diagnose(log, 1).cause is Cause.CRASHED

    def test_known_logs_are_read_rightly(self) -> None:
        found = {log: self.engine().diagnose(log, code).cause for log, (code, _) in self.logs.items()}
        assert found == {log: cause for log, (_, cause) in self.logs.items()}

    def test_evidence_is_a_part_of_the_log(self) -> None:
        for log, (code, _) in self.logs.items():
            assert self.engine().diagnose(log, code).evidence in log

    def test_a_server_that_does_not_answer_is_no_error(self) -> None:
        assert self.engine().identify(NOBODY) is None
        assert self.engine().effective_config(NOBODY, "") == {}
