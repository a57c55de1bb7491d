"""The two ways in which gabatone stops: the caller's input is wrong, or a computation failed."""


class BadInput(ValueError):
    """Input that cannot be used; the command line prints it as one message and exits with 2.

    Parameters
    ----------
    field : str
        What is wrong, as the user wrote it (``file: table.key`` where there is a file).
    value : object
        The offending value.
    cause : str
        The likely cause.
    fix : str
        What to change.
    """

    def __init__(self, field, value, cause, fix):
        self.field, self.value, self.cause, self.fix = str(field), value, str(cause), str(fix)
        super().__init__(f"{self.field} = {value!r}: {self.cause}. Fix: {self.fix}.")


class Failure(RuntimeError):
    """A run that could not give a trustworthy result; the command line exits with 1.

    Parameters
    ----------
    name : str
        A short stable name, such as ``"nan_voltage"`` or ``"event_limit"``.
    message : str
        What happened, where, the likely cause and what to change.
    """

    def __init__(self, name, message):
        self.name = str(name)
        super().__init__(f"{self.name}: {message}")
