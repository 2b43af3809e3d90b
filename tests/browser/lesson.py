"""A lesson as a student has it before them: open in a browser, run, touched."""

from pathlib import Path

SECONDS_TO_OPEN = 60
SECONDS_TO_RUN = 120
SECONDS_TO_REDRAW = 15

OPEN = """async () => {
    await jupyterapp.restored;
    const panel = jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    while (panel.sessionContext.session?.kernel?.status !== 'idle')
        await new Promise(done => setTimeout(done, 100));
}"""
RUN_ALL = "async () => { await jupyterapp.commands.execute('notebook:run-all-cells'); }"
CELLS = """() => jupyterapp.shell.currentWidget.content.widgets
    .map(cell => cell.model)
    .filter(model => model.type === 'code' && model.sharedModel.source.trim())
    .map(model => ({
        source: model.sharedModel.source,
        count: model.executionCount,
        outputs: model.sharedModel.getOutputs(),
    }))"""
SAVE = "async () => { await jupyterapp.commands.execute('docmanager:save'); }"
# The pictures and widgets that stick out of the cell that they stand in, by their width.
TOO_WIDE = """() => [...document.querySelectorAll('.jp-OutputArea-output img, .widget-html img')]
    .filter(image => image.offsetParent)
    .map(image => [image.getBoundingClientRect(),
                   image.closest('.jp-OutputArea').getBoundingClientRect()])
    .filter(([image, area]) => image.right > area.right + 1 || image.width < 100)
    .map(([image, area]) => `${image.left}-${image.right} in ${area.left}-${area.right}`)"""
SHUT_DOWN = (
    "async () => { await window.jupyterapp?.shell.currentWidget.sessionContext.shutdown(); }"
)
TO_THE_TOP = "() => document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, 0)"
HEIGHT = "() => jupyterapp.shell.currentWidget.content.viewportNode?.scrollHeight ?? 0"
TO_TOP = "() => [...document.querySelectorAll('.jp-WindowedPanel-outer')].map(p => p.scrollTop = 0)"
FIGURE_IS_NEW = "([cell, before]) => cell.querySelector('.minipeft-live img').src !== before"
RUN_ONE = """async ([number, source]) => {
    const notebook = jupyterapp.shell.currentWidget.content;
    const code = notebook.widgets.map((cell, i) => [cell, i])
        .filter(([cell]) => cell.model.type === 'code' && cell.model.sharedModel.source.trim());
    const [cell, place] = code[number];
    if (source !== null) cell.model.sharedModel.setSource(source);
    notebook.activeCellIndex = place;
    await jupyterapp.commands.execute('notebook:run-cell');
}"""
SLIDER = ".noUi-handle, input[type=range]"
TALLEST = 16_000  # pixels; Chromium draws no taller page


class LessonPage:
    """One notebook in one page of the browser, with everything that went wrong in it."""

    def __init__(self, page, url: str):
        self.page = page
        self.complaints = []
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("console", self._note_console)
        page.on("requestfailed", self._note_request)
        page.goto(url)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=SECONDS_TO_OPEN * 1000)
        page.set_default_timeout(SECONDS_TO_RUN * 1000)
        page.evaluate(OPEN)

    def run_all(self) -> list[dict]:
        """Run every cell; return the code cells: source, count, outputs."""
        self.page.evaluate(RUN_ALL)
        return self.code_cells()

    def code_cells(self) -> list[dict]:
        """The code cells as they are: source, count, outputs."""
        return self.page.evaluate(CELLS)

    def run(self, number: int, source: str | None = None) -> list[str]:
        """Run one code cell, counted from 0, after writing `source` into it; returns its texts."""
        self.page.evaluate(RUN_ONE, [number, source])
        outputs = self.code_cells()[number]["outputs"]
        return [output["text"] for output in outputs if "text" in output]

    def save_and_leave(self, keep_kernel: bool = False) -> None:
        """Save the notebook and close it; by default the night comes and the kernel ends."""
        self.page.evaluate(SAVE)
        if not keep_kernel:
            self.page.evaluate(SHUT_DOWN)
        self.page.goto("about:blank")

    def too_wide(self, width: int) -> list[str]:
        """The pictures that do not fit where they stand, in a window of this width."""
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.wait_for_timeout(500)
        return self.page.evaluate(TOO_WIDE)

    def cells_with_sliders(self) -> list:
        """The cells that show a slider."""
        return self.page.locator(".jp-CodeCell", has=self.page.locator(SLIDER)).all()

    def move(self, cell, slider) -> None:
        """Press an arrow key on a cell's slider and wait until its figure is another one."""
        slider.scroll_into_view_if_needed()
        before = cell.locator(".minipeft-live img").evaluate("image => image.src")
        slider.focus()
        slider.press("ArrowLeft" if _at_its_end(slider) else "ArrowRight")
        self.page.wait_for_function(
            FIGURE_IS_NEW,
            arg=[cell.element_handle(), before],
            timeout=SECONDS_TO_REDRAW * 1000,
        )

    def screenshot(self, path: Path) -> None:
        """The whole lesson as one picture, to look at."""
        path.parent.mkdir(exist_ok=True)
        width = self.page.viewport_size["width"]
        height = min(self.page.evaluate(HEIGHT) + 200, TALLEST)
        self.page.set_viewport_size({"width": width, "height": max(height, 800)})
        self.page.evaluate(TO_TOP)  # a panel scrolled to its end would stay there
        self.page.wait_for_timeout(1000)
        self.page.evaluate(TO_THE_TOP)  # running all cells leaves the last one in view
        self.page.screenshot(path=path)

    def close(self) -> None:
        """End the kernel too: it would hold its memory until the server ends."""
        self.page.evaluate(SHUT_DOWN)
        self.page.close()

    def _note_console(self, message) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def _note_request(self, request) -> None:
        self.complaints.append(f"request failed: {request.url}: {request.failure}")


def _at_its_end(slider) -> bool:
    now, end = (slider.get_attribute(f"aria-value{which}") for which in ("now", "max"))
    return now is not None and now == end
