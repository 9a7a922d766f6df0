"""A parser that answers a mistake in two lines, and prints the everyday options first.

What was typed, what was expected, what to type instead; never the usage of all options.
It knows nothing of what the options mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from bids_sr.exceptions import did_you_mean

SHELLS = ("bash", "zsh")


class CommandParser(argparse.ArgumentParser):
    """Parse a command line.

    Parameters
    ----------
    everyday : collection of str, optional
        Destinations of the options that ``--help`` shows; ``--help-all`` then shows all.
        Without it, ``--help`` shows all.
    **arguments
        As for :class:`argparse.ArgumentParser`.
    """

    def __init__(self, *, everyday: Collection[str] = (), **arguments: Any) -> None:
        super().__init__(**arguments, add_help=False, allow_abbrev=False)
        self.everyday = everyday
        self.add_argument(
            "-h",
            "--help",
            action=_ShowHelp,
            nargs=0,
            everyday=everyday,
            help="show the options most people need" if everyday else "show this help",
        )
        if everyday:
            self.add_argument(
                "--help-all", action=_ShowHelp, nargs=0, help="show all options and exit codes"
            )

    def offer_completion(self) -> None:
        """Add the option that prints a completion script."""
        self.add_argument(
            "--print-completion",
            action=_PrintCompletion,
            choices=SHELLS,
            help="print a script that completes options with the Tab key in this shell",
        )

    def parse_known_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse what is known, but name an option that does not exist before anything else."""
        if args is not None and self._subparsers is None:
            for word in _options_of(args):
                if word not in self._option_string_actions:
                    known = list(self._option_string_actions)
                    self.error(f"unknown option {word}{did_you_mean(word, known)}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the mistake and where help is, and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message}\nSee {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        raise argparse.ArgumentError(
            action,
            f"unknown value {value!r}{did_you_mean(str(value), known)}; expected "
            f"{', '.join(known)}",
        )


class _PrintCompletion(argparse.Action):
    """Print the completion script of a shell and stop."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{**arguments, "default": argparse.SUPPRESS})

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: Any, shell: Any, *_: Any
    ) -> NoReturn:
        import shtab

        print(shtab.complete(parser, shell=shell))
        parser.exit()


class _ShowHelp(argparse.Action):
    """Print the help and stop; options that are not everyday ones are left out."""

    def __init__(self, *, everyday: Collection[str] = (), **arguments: Any) -> None:
        super().__init__(**{**arguments, "default": argparse.SUPPRESS})
        self.everyday = everyday

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        if self.everyday:
            for action in parser._actions:
                if action.option_strings and action.dest not in self.everyday:
                    action.help = argparse.SUPPRESS
        parser.print_help()
        parser.exit()


def _options_of(words: Iterable[str]) -> Iterable[str]:
    """Yield the names of the long options of a command line, without their values."""
    for word in words:
        if word == "--":
            return
        if word.startswith("--") and " " not in word:
            yield word.partition("=")[0]
