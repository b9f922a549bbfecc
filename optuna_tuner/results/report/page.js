"use strict";
// Draws the figures of the page. Their text and grid take the page's colours from its style sheet, so that they follow
// light, dark and print without being drawn again.
const plots = JSON.parse(document.getElementById("plots").textContent);
for (const [id, { data, layout }] of Object.entries(plots)) {
  Plotly.newPlot("plot-" + id, data, layout, { displayModeBar: false, responsive: false });
}
