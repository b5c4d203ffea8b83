// Where nodes and wires go: layers from left to right, few crossings, wires in lanes between the nodes. Pure geometry.
//
// A wire that passes a layer gets a place of its own there, a lane; all wires from one port share their lanes, so that they
// run together and part where they must. Places within a layer are the closest to where the wires want them (least squares
// under the order and the distances, by pooling neighbours that would overlap).

export const NODE_WIDTH = 178;
export const PORT_HEIGHT = 17;
const NODE_HEIGHT = 46;
const STATUS_HEIGHT = 20;
const GAP = 26;
const LANE_HEIGHT = 15;
const LAYER_GAP = 104;
const MARGIN = 26;
const SWEEPS = 16;
const ROUNDS = 40;

/** Nodes {id, inputs, outputs, emitted} -> {nodes: [{id, x, y, width, height, ports}], wires: [{from, port, to, d}], width, height}. */
export function layOut(nodes) {
  const known = new Map(nodes.map((node) => [node.id, node]));
  const edges = nodes.flatMap((node) =>
    (node.inputs ?? []).map((input) => ({ ...source(input, known), to: node.id })).filter((edge) => known.has(edge.from)),
  );
  const layerOf = layers(nodes, edges);
  const cells = makeCells(nodes, edges, layerOf);
  const columns = columnsOf(cells);
  order(columns);
  place(columns);
  const top = Math.min(...cells.map((cell) => cell.y - cell.height / 2), 0) - MARGIN;
  for (const cell of cells) {
    cell.y -= top;
    cell.x = MARGIN + cell.layer * (NODE_WIDTH + LAYER_GAP);
  }
  return {
    nodes: cells.filter((cell) => cell.node).map(({ node, x, y, ports }) => ({ id: node.id, x, y: y - bodyHeight(ports) / 2 - STATUS_HEIGHT / 2, width: NODE_WIDTH, height: bodyHeight(ports), ports })),
    wires: edges.map((edge) => ({ ...edge, d: path(edge, cells) })),
    width: 2 * MARGIN + columns.length * NODE_WIDTH + (columns.length - 1) * LAYER_GAP,
    height: Math.max(...cells.map((cell) => cell.y + cell.height / 2), 0) + MARGIN,
  };
}

/** Y of an output port, from the top of its node. */
export const portY = (ports, port) => bodyHeight(ports) / 2 + (ports.indexOf(port) - (ports.length - 1) / 2) * PORT_HEIGHT;

const bodyHeight = (ports) => Math.max(NODE_HEIGHT, ports.length * PORT_HEIGHT + 12);

function source(input, known) {
  if (known.has(input)) return { from: input, port: "main" };
  const dot = input.lastIndexOf(".");
  return { from: input.slice(0, dot), port: input.slice(dot + 1) };
}

/** Longest path from the sources; a source moves right, next to its first reader. */
function layers(nodes, edges) {
  const layerOf = new Map(nodes.map((node) => [node.id, 0]));
  for (let round = 0; round < nodes.length; round += 1) {
    let moved = false;
    for (const { from, to } of edges) {
      if (layerOf.get(to) <= layerOf.get(from)) {
        layerOf.set(to, layerOf.get(from) + 1);
        moved = true;
      }
    }
    if (!moved) break;
  }
  for (const { id } of nodes) {
    const readers = edges.filter((edge) => edge.from === id).map((edge) => layerOf.get(edge.to));
    if (readers.length && !edges.some((edge) => edge.to === id)) layerOf.set(id, Math.min(...readers) - 1);
  }
  return layerOf;
}

function makeCells(nodes, edges, layerOf) {
  const cells = nodes.map((node) => {
    const ports = portsOf(node, edges);
    return { key: node.id, node, ports, layer: layerOf.get(node.id), height: bodyHeight(ports) + STATUS_HEIGHT, left: [], right: [] };
  });
  const byKey = new Map(cells.map((cell) => [cell.key, cell]));
  for (const { from, port, to } of edges) {
    let left = byKey.get(from);
    const start = portY(left.ports, port) - bodyHeight(left.ports) / 2 - STATUS_HEIGHT / 2;
    for (let layer = left.layer + 1; layer <= layerOf.get(to); layer += 1) {
      const key = layer === layerOf.get(to) ? to : JSON.stringify([from, port, layer]);
      const right = byKey.get(key) ?? { key, layer, height: LANE_HEIGHT, left: [], right: [] };
      if (!byKey.has(key)) {
        byKey.set(key, right);
        cells.push(right);
      }
      link(left, right, left.node ? start : 0, right.node ? -STATUS_HEIGHT / 2 : 0, port === "main" ? 3 : 1);
      left = right;
    }
  }
  return cells;
}

function portsOf(node, edges) {
  const used = edges.filter((edge) => edge.from === node.id).map((edge) => edge.port);
  const ports = new Set([...(node.outputs ?? []), ...used, ...Object.keys(node.emitted ?? {})]);
  return [...ports].sort((a, b) => (b === "main") - (a === "main") || a.localeCompare(b));
}

function link(left, right, leftOffset, rightOffset, weight) {
  if (left.right.some((wire) => wire.cell === right && wire.from === leftOffset)) return;
  const straight = left.node ? (right.node ? 4 : 0.3) : right.node ? 0.3 : 6; // lanes and main wires are straight first
  left.right.push({ cell: right, from: leftOffset, to: rightOffset, weight: weight * straight });
  right.left.push({ cell: left, from: rightOffset, to: leftOffset, weight: weight * straight });
}

function columnsOf(cells) {
  const columns = [];
  for (const cell of cells) (columns[cell.layer] ??= []).push(cell);
  for (let layer = 0; layer < columns.length; layer += 1) columns[layer] ??= [];
  return columns;
}

/** Barycentre sweeps; the order with the fewest crossings is kept. */
function order(columns) {
  let best = columns.map((column) => [...column]);
  let fewest = crossings(columns);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep += 1) {
    const forward = sweep % 2 === 0;
    const layersInTurn = forward ? columns.keys() : [...columns.keys()].reverse();
    for (const layer of layersInTurn) sortColumn(columns[layer], forward ? "left" : "right");
    const count = crossings(columns);
    if (count < fewest) {
      fewest = count;
      best = columns.map((column) => [...column]);
    }
  }
  columns.forEach((column, layer) => column.splice(0, column.length, ...best[layer]));
}

function sortColumn(column, side) {
  column.forEach((cell, place) => {
    const wires = cell[side];
    cell.wish = wires.length ? wires.reduce((sum, wire) => sum + wire.cell.rank + wire.to / 1000, 0) / wires.length : place;
  });
  column.sort((a, b) => a.wish - b.wish);
  column.forEach((cell, place) => {
    cell.rank = place;
  });
}

function crossings(columns) {
  for (const column of columns) column.forEach((cell, place) => (cell.rank = place));
  let count = 0;
  for (const column of columns) {
    const wires = column.flatMap((cell) => cell.right.map((wire) => [cell.rank + wire.from / 1000, wire.cell.rank]));
    for (let a = 0; a < wires.length; a += 1)
      for (let b = a + 1; b < wires.length; b += 1) if ((wires[a][0] - wires[b][0]) * (wires[a][1] - wires[b][1]) < 0) count += 1;
  }
  return count;
}

function place(columns) {
  for (const column of columns) {
    let y = 0;
    for (const cell of column) {
      cell.y = y + cell.height / 2;
      y += cell.height + GAP;
    }
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const forward = round % 2 === 0;
    for (const column of forward ? columns : [...columns].reverse()) settle(column);
  }
}

/** Move the cells of a column to where their wires want them, in their order and without overlap. */
function settle(column) {
  const blocks = [];
  let offset = 0;
  column.forEach((cell, index) => {
    if (index) offset += distance(column[index - 1], cell);
    cell.offset = offset;
    const wires = [...cell.left, ...cell.right];
    const weight = wires.reduce((sum, wire) => sum + wire.weight, 0) || 0.01;
    const wish = wires.length ? wires.reduce((sum, wire) => sum + wire.weight * (wire.cell.y + wire.to - wire.from), 0) / weight : cell.y;
    let block = { cells: [cell], weight, at: wish - offset };
    while (blocks.length && blocks.at(-1).at >= block.at) {
      const before = blocks.pop();
      const sum = before.weight + block.weight;
      block = { cells: [...before.cells, ...block.cells], weight: sum, at: (before.at * before.weight + block.at * block.weight) / sum };
    }
    blocks.push(block);
  });
  for (const block of blocks) for (const cell of block.cells) cell.y = block.at + cell.offset;
}

function distance(above, below) {
  const gap = above.node && below.node ? GAP : above.node || below.node ? GAP / 2 : 0;
  return (above.height + below.height) / 2 + gap;
}

/** From an output port through its lanes to the input port. */
function path({ from, port, to }, cells) {
  const start = cells.find((cell) => cell.key === from);
  const end = cells.find((cell) => cell.key === to);
  const body = (cell) => cell.y - STATUS_HEIGHT / 2;
  const points = [[start.x + NODE_WIDTH, body(start) - bodyHeight(start.ports) / 2 + portY(start.ports, port)]];
  for (let layer = start.layer + 1; layer < end.layer; layer += 1) {
    const lane = cells.find((cell) => cell.key === JSON.stringify([from, port, layer]));
    points.push([lane.x - 14, lane.y], [lane.x + NODE_WIDTH + 14, lane.y]);
  }
  points.push([end.x, body(end)]);
  return points.map(([x, y], index) => (index === 0 ? `M${x} ${round(y)}` : segment(points[index - 1], [x, y], index % 2 === 0))).join("");
}

function segment([x1, y1], [x2, y2], straight) {
  if (straight || Math.abs(y1 - y2) < 0.5) return `L${x2} ${round(y2)}`;
  const bend = (x2 - x1) / 2;
  return `C${x1 + bend} ${round(y1)} ${x2 - bend} ${round(y2)} ${x2} ${round(y2)}`;
}

const round = (y) => Math.round(y * 10) / 10;
