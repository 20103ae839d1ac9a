import type { TypeName } from '../../core/types.ts';
import { formatDb } from '../format.ts';
import type { ReportedTensor } from '../report.ts';
import { html, type Markup } from './markup.ts';
import { scrolling } from './page.ts';
import { CLASSES, classOf, colorClass, type Scale } from './scale.ts';

/** Quantized tensors by layer and kind; what belongs to no layer stands apart. */
export interface LayerGrid {
  /** Kinds of tensors, in the order of the file: "attn_q", "ffn_down". */
  readonly kinds: readonly string[];
  readonly layers: readonly { readonly layer: string; readonly tensors: readonly (Placed | undefined)[] }[];
  readonly others: readonly Placed[];
}

/** A tensor, and its number in the report. */
export interface Placed {
  readonly tensor: ReportedTensor;
  readonly index: number;
}

/** Puts tensors into a grid by the first number in their names, as in "blk.3.attn_q.weight". */
export function layerGrid(tensors: readonly ReportedTensor[]): LayerGrid {
  const kinds = new Map<string, number>();
  const layers = new Map<string, Map<string, Placed>>();
  const others: Placed[] = [];
  tensors.forEach((tensor, index) => {
    if (!tensor.quantized) return;
    const [, before, layer, after] = /^(.*?)\.(\d+)\.(.+)$/.exec(tensor.name) ?? [];
    if (layer === undefined) {
      others.push({ tensor, index });
      return;
    }
    // Usually all layers have one name before the number, which then says nothing.
    const kind = `${/^(blk|model\.layers)$/.test(before) ? '' : `${before}.`}${after.replace(/\.weight$/, '')}`;
    if (!kinds.has(kind)) kinds.set(kind, kinds.size);
    const row = layers.get(layer) ?? new Map<string, Placed>();
    layers.set(layer, row.set(kind, { tensor, index }));
  });
  const names = [...kinds.keys()].sort();
  return {
    kinds: names,
    layers: [...layers]
      .sort(([a], [b]) => Number(a) - Number(b))
      .map(([layer, row]) => ({ layer, tensors: names.map((kind) => row.get(kind)) })),
    others,
  };
}

/** Place of a tensor's histogram in the page. */
export const anchorOf = (index: number): string => `t${index}`;

interface Look {
  readonly caption: string;
  readonly scale: Scale;
  /** Text in a cell, what it is called in full, and its colour class. */
  cell(tensor: ReportedTensor): { text: string; label: string; level: number };
  readonly legend: readonly { readonly level: number; readonly text: string }[];
}

/** Two maps, layer by tensor: of the error, and of the bits. Cells hold their figures as text. */
export function renderHeatMaps(grid: LayerGrid, linked: boolean): Markup {
  const tensors = [...grid.layers.flatMap((row) => row.tensors), ...grid.others].flatMap((placed) =>
    placed === undefined ? [] : [placed.tensor],
  );
  return html`<div class="maps">${[errorLook(tensors), bitsLook(tensors)].map((look) => renderMap(grid, look, linked))}</div>`;
}

function renderMap({ kinds, layers, others }: LayerGrid, look: Look, linked: boolean): Markup {
  const cell = (placed: Placed | undefined): Markup => {
    if (placed === undefined) return html`<td></td>`;
    const { text, label, level } = look.cell(placed.tensor);
    return html`<td class="${colorClass(look.scale, level)}" title="${label}">${
      linked && placed.tensor.histogram
        ? html`<a href="#${anchorOf(placed.index)}">${text}</a>`
        : html`<span>${text}</span>`
    }</td>`;
  };
  const layered = html`<table class="map"><caption>${look.caption}</caption>
<thead><tr><th scope="col">layer</th>${kinds.map((kind) => html`<th scope="col">${breakable(kind)}</th>`)}</tr></thead>
<tbody>${layers.map(
    ({ layer, tensors }) => html`<tr><th scope="row">${layer}</th>${tensors.map(cell)}</tr>
`,
  )}</tbody></table>`;
  const rest = html`<table class="map">${layers.length === 0 ? html`<caption>${look.caption}</caption>` : null}
<tbody>${others.map(
    (placed) => html`<tr><th scope="row">${placed.tensor.name}</th>${cell(placed)}</tr>
`,
  )}</tbody></table>`;
  return html`<div>${layers.length > 0 ? scrolling(look.caption, layered) : null}
${others.length > 0 ? scrolling(`${look.caption}, tensors outside the layers`, rest) : null}
<ul class="legend" aria-label="legend">${look.legend.map(({ level, text }) => html`<li class="${colorClass(look.scale, level)}">${text}</li>`)}</ul></div>`;
}

/** A name that may go on in another line behind each underscore, dot or colon. */
export const breakable = (name: string): readonly Markup[] =>
  name.split(/(?<=[_.:])/).map((part, i) => html`${i > 0 ? html`<wbr>` : null}${part}`);

function errorLook(tensors: readonly ReportedTensor[]): Look {
  const known = tensors.flatMap(({ metrics }) => (metrics.sqnrDb === null ? [] : [metrics.sqnrDb]));
  // Half a decibel at least, so that tensors of one quality do not look unlike.
  const [low, high] = [Math.min(...known), Math.max(...known, Math.min(...known) + 0.5)];
  const step = (high - low) / CLASSES;
  return {
    caption: 'Signal to noise in dB: deep is noisy',
    scale: 'noise',
    cell(tensor) {
      const { sqnrDb, mse } = tensor.metrics;
      const text = formatDb(tensor.metrics);
      const level = mse === 0 ? 0 : sqnrDb === null ? CLASSES - 1 : CLASSES - 1 - classOf(sqnrDb, low, high);
      return { text, level, label: `${tensor.name}: ${text}${mse === 0 ? '' : ' dB'}` };
    },
    legend:
      known.length === 0
        ? []
        : Array.from({ length: CLASSES }, (_, i) => ({
            level: CLASSES - 1 - i,
            text: `${(low + i * step).toFixed(1)} to ${(low + (i + 1) * step).toFixed(1)}`,
          })),
  };
}

function bitsLook(tensors: readonly ReportedTensor[]): Look {
  const bits = new Map<TypeName, number>(tensors.map(({ type, bitsPerWeight }) => [type, bitsPerWeight]));
  const [low, high] = [Math.min(...bits.values()), Math.max(...bits.values())];
  const level = (value: number) => classOf(value, low, high);
  return {
    caption: 'Bits per weight: deep is many',
    scale: 'bits',
    cell: (tensor) => ({
      text: tensor.bitsPerWeight.toFixed(2),
      label: `${tensor.name}: ${tensor.type}, ${tensor.bitsPerWeight.toFixed(2)} bits per weight`,
      level: level(tensor.bitsPerWeight),
    }),
    legend: [...bits]
      .sort(([, a], [, b]) => a - b)
      .map(([type, value]) => ({ level: level(value), text: `${type} ${value.toFixed(2)}` })),
  };
}
