"""How a command ends badly: one line on stderr that says what to do, and an exit status."""


class CommandError(Exception):
    """The command could not do what was asked. `status` 1: the answer is no; 2: it was asked wrongly. `code`: the API's."""

    def __init__(self, message: str, status: int = 1, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code
