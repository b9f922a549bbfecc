"use strict";
// Writes each figure into the page as a PNG, at two pixels for one, on white paper.
(async () => {
  for (const [id, { data, layout }] of Object.entries(JSON.parse(document.getElementById("plots").textContent))) {
    const paper = { ...layout, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff" };
    const held = document.createElement("pre");
    held.textContent = id + " " + (await Plotly.toImage({ data, layout: paper }, { format: "png", scale: 2 }));
    document.body.append(held);
  }
})();
