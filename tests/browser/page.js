// What the browser tests ask of the page; LabPage puts it there before anything else runs.
window.acdcTest = (() => {
  const missing = (value) => value === null || value === undefined || Number.isNaN(value);

  // The visible figure that holds a trace, or any if `trace` is null; the last one where there
  // are several, as the one made last is meant.
  const figureWith = (trace) =>
    [...document.querySelectorAll('.js-plotly-plot')].findLast(
      (gd) => gd.offsetParent !== null && gd._fullLayout?._size && gd._fullData
        && (trace === null || gd._fullData.some((t) => t.name === trace))) ?? null;

  const drawnPoints = (trace) => {
    const length = Math.min(trace.x?.length ?? 0, trace.y?.length ?? 0);
    let count = 0;
    for (let i = 0; i < length; i++) count += !missing(trace.x[i]) && !missing(trace.y[i]);
    return count;
  };

  const figureState = (trace) => {
    const gd = figureWith(trace);
    if (!gd) return null;
    const points = {};
    for (const t of gd._fullData) points[t.name] = (points[t.name] ?? 0) + drawnPoints(t);
    const {width, height} = gd._fullLayout;
    return {points, width, height};
  };

  const hasDrawn = (trace) => (figureState(trace)?.points[trace] ?? 0) > 0;

  // Whether an output says that its widget could not be had from the kernel.
  const hasLostWidgets = () => [...document.querySelectorAll('.jp-OutputArea-output')]
    .some((output) => output.innerText.includes('Error displaying widget'));

  const place = (trace, index) => {
    const gd = figureWith(trace);
    if (!gd) return {error: `no visible figure has a trace ${trace}`};
    const data = gd._fullData.findLast((t) => t.name === trace);
    if (!(index >= 0 && index < data.x.length)) {
      return {error: `trace ${trace} has ${data.x.length} points, none with index ${index}`};
    }
    if (missing(data.x[index]) || missing(data.y[index])) {
      return {error: `point ${index} of trace ${trace} is a gap`};
    }
    const axis = (id) => gd._fullLayout[id[0] + 'axis' + id.slice(1)];
    const xaxis = axis(data.xaxis), yaxis = axis(data.yaxis);
    const box = gd.getBoundingClientRect();
    return {
      gd,
      x: box.left + xaxis._offset + xaxis.d2p(data.x[index]),
      y: box.top + yaxis._offset + yaxis.d2p(data.y[index]),
    };
  };

  const frame = () => new Promise((done) => requestAnimationFrame(done));

  // Where a point is on the page, scrolled into view: {x, y}, or {error} in words.
  const pointPixel = async (trace, index) => {
    let spot = place(trace, index);
    const reached = () => document.elementFromPoint(spot.x, spot.y);
    if (!spot.error && !spot.gd.contains(reached())) {
      spot.gd.scrollIntoView({block: 'center'});
      await frame();
      await frame();
      spot = place(trace, index);
    }
    if (spot.error) return {error: spot.error};
    if (!spot.gd.contains(reached())) {
      const over = reached()?.outerHTML.slice(0, 200) ?? 'nothing of this page';
      return {error: `point ${index} of trace ${trace} is covered or out of sight by: ${over}`};
    }
    return {x: spot.x, y: spot.y};
  };

  // Puts the next point clicked on into acdcTest.clicked.
  const listenForClick = (trace) => {
    window.acdcTest.clicked = null;
    figureWith(trace).once('plotly_click', (event) => {
      const point = event.points[0];
      window.acdcTest.clicked = {
        trace: point.data.name,
        index: point.pointNumber,
        customdata: point.customdata ?? null,
      };
    });
  };

  // JupyterLab covers the page while it starts or changes theme. Changing it again meanwhile
  // makes JupyterLab remove the cover twice, and log an error.
  const isUncovered = () => document.getElementById('jupyterlab-splash') === null;

  const showsTheme = (name) => document.body.dataset.jpThemeName === name && isUncovered();

  // Of the main area, not the current widget: while JupyterLab starts that may change again.
  const notebookPanel = () => {
    const shell = window.jupyterapp?.shell;
    return [...(shell?.widgets('main') ?? [])].find((widget) => widget.content?.model?.sharedModel);
  };

  const notebookIsReady = () => {
    const panel = notebookPanel();
    const context = panel?.sessionContext;
    const kernel = context?.session?.kernel;
    return Boolean(isUncovered() && panel && context?.isReady
      && kernel?.connectionStatus === 'connected' && kernel.status === 'idle');
  };

  const cells = () => notebookPanel().content.model.sharedModel;

  const appendCell = (source) => {
    const notebook = notebookPanel().content;
    cells().insertCell(cells().cells.length, {cell_type: 'code', source});
    notebook.deselectAll();
    notebook.activeCellIndex = cells().cells.length - 1;
  };

  const chooseCell = (index) => {
    const notebook = notebookPanel().content;
    notebook.deselectAll();
    notebook.activeCellIndex = index;
  };

  // Starts a JupyterLab command; its end is told in acdcTest.outcome.
  const execute = (command, options) => {
    window.acdcTest.outcome = null;
    // Commands are for the current widget. To make it that takes the focus, a little later.
    const shell = window.jupyterapp.shell;
    if (shell.currentWidget !== notebookPanel()) shell.activateById(notebookPanel().id);
    window.jupyterapp.commands.execute(command, options).then(
      () => { window.acdcTest.outcome = 'done'; },
      (error) => { window.acdcTest.outcome = String(error); });
  };

  // Without the question whether one means it.
  const restartKernel = () =>
    notebookPanel().sessionContext.session.kernel.restart();

  const statuses = () =>
    [...document.querySelectorAll('.acdc-status[data-status], .acdc-status [data-status]')]
      .filter((element) => element.offsetParent !== null)
      .map((element) => element.dataset.status);

  return {
    figureState, hasDrawn, hasLostWidgets, pointPixel, listenForClick, showsTheme,
    notebookIsReady, cells, appendCell, chooseCell, execute, restartKernel, statuses,
    clicked: null, outcome: null,
  };
})();
