"""One error for everything a user can mend: what was wrong, what was expected, what to do."""


class MedsslError(ValueError):
    """Raised with up to three sentences; the command line prints them without a traceback. `code` is one word for
    programs that count kinds of faults."""

    def __init__(self, wrong: str, expected: str = "", fix: str = "", code: str = ""):
        self.wrong, self.expected, self.fix, self.code = wrong, expected, fix, code
        lines = [wrong]
        if expected:
            lines.append(f"Expected: {expected}")
        if fix:
            lines.append(f"What to do: {fix}")
        super().__init__("\n".join(lines))
