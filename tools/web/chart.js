// Charts: the library alone, for pages that draw one (`charts.js` of a page's own would be loaded after it).
import uPlot from "uplot";

window.uPlot = uPlot;
