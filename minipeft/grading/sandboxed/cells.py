"""Running a notebook's cells one by one, as Jupyter would.

Plain Python is compiled and run. A cell that only Jupyter understands (`%%time`, `!ls`, `x?`) is
first turned into Python by IPython, which is imported for it; without IPython the lines that are
not Python are dropped.
"""

import __future__

import ast
import asyncio
import inspect
import linecache
import sys
import types


class Notebook:
    """The module `__main__` that the cells share, as in a kernel."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.namespace = self.module.__dict__
        self.shell = Shell(self)
        self.namespace |= {"display": nothing, "get_ipython": lambda: self.shell}
        self.future = 0  # `from __future__ import ...` holds for the cells below as well
        sys.modules["__main__"] = self.module  # where pickle and torch.save look classes up
        sys.path[:0] = [""]  # a file written by one cell can be imported by the next

    def run(self, source: str, name: str) -> None:
        """Run one cell. Raises what it raises."""
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        try:
            code = self._compiled(source, name)
        except SyntaxError:
            self._run_foreign(source, name)
            return
        self._run_code(code)

    def _compiled(self, source: str, name: str) -> types.CodeType:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | self.future
        code = compile(source, name, "exec", flags, dont_inherit=True)
        for feature in __future__.all_feature_names:
            self.future |= code.co_flags & getattr(__future__, feature).compiler_flag
        return code

    def _run_code(self, code: types.CodeType) -> None:
        if code.co_flags & inspect.CO_COROUTINE:  # `await` outside of a function
            asyncio.run(types.FunctionType(code, self.namespace)())
        else:
            exec(code, self.namespace)  # the sandbox's very purpose

    def _run_foreign(self, source: str, name: str) -> None:
        """Run a cell after IPython turned what is Jupyter's own into calls of its shell."""
        try:
            from IPython.core.inputtransformer2 import TransformerManager

            plain = TransformerManager().transform_cell(source)
        except ImportError:
            plain = without_foreign_lines(source)
        self._run_code(self._compiled(plain, name))


class Shell:
    """What `get_ipython()` returns: magics that run a student's code do, others may fail quietly.

    The first that needs it makes IPython's own shell, over the same module.
    """

    RUN = ("time", "timeit", "capture", "prun", "memit", "mprun", "python", "python3", "debug")
    LOOKS = ("matplotlib", "config", "load_ext", "reload_ext", "autoreload", "pylab", "precision")

    def __init__(self, notebook: Notebook) -> None:
        self._notebook, self._own = notebook, None

    def run_cell_magic(self, name: str, line: str, cell: str) -> object:
        """A cell below `%%name`: run as a cell, where that is what the magic does."""
        if name not in self.RUN:
            return self._quietly("run_cell_magic", name, line, cell)
        output = line.split()[-1:] if name == "capture" else []
        if output and output[0].isidentifier():
            seen = types.SimpleNamespace(stdout="", stderr="", outputs=[], show=nothing)
            self._notebook.namespace[output[0]] = seen
        self._notebook.run(cell, f"<cell below %%{name}>")
        return None

    def run_line_magic(self, name: str, line: str, *_: object, **__: object) -> object:
        """A line `%name`."""
        return None if name in self.LOOKS else self._quietly("run_line_magic", name, line)

    def __getattr__(self, name: str) -> object:
        return lambda *values, **named: self._quietly(name, *values, **named)

    def _quietly(self, method: str, *values: object, **named: object) -> object:
        """Ask IPython's shell; what it cannot do outside of Jupyter is passed over."""
        try:
            return getattr(self._shell(), method)(*values, **named)
        except Exception:
            return [] if method == "getoutput" else None

    def _shell(self) -> object:
        if self._own is None:
            from IPython.core.history import HistoryManager
            from IPython.core.interactiveshell import InteractiveShell

            HistoryManager.enabled = False
            self._own = InteractiveShell.instance(user_module=self._notebook.module)
            self._notebook.namespace["get_ipython"] = lambda: self
        return self._own


def nothing(*_: object, **__: object) -> None:
    """Take anything, do nothing: what is displayed or printed is read by no one here."""


def without_foreign_lines(source: str) -> str:
    """The cell with `pass` in place of magics, commands and questions, and no line moved."""
    lines = source.split("\n")
    return "\n".join(_indented_pass(line) if is_foreign(line) else line for line in lines)


def is_foreign(line: str) -> bool:
    """Whether a line is Jupyter's own: `%magic`, `!command`, `name = !command`, `name?`."""
    text = line.strip()
    assigned = text.partition("=")[2].lstrip()
    return text.startswith(("%", "!", "?")) or text.endswith("?") or assigned.startswith(("!", "%"))


def _indented_pass(line: str) -> str:
    return line[: len(line) - len(line.lstrip())] + "pass"
