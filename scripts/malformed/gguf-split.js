// Split GGUF files whose parts do not fit together.
import { gguf, pair, T, tensor, text, u32 } from './bytes.js';

const u16 = (value) => Buffer.from([value & 255, value >> 8]);
const UINT16 = 2;

/** Part `number` (from 0) of `count`, holding tensors of these names; `total` tensors in all parts. */
const part = (number, count, total, ...names) =>
  withKeys(
    [
      pair('split.no', UINT16, u16(number)),
      pair('split.count', UINT16, u16(count)),
      pair('split.tensors.count', T.INT32, u32(total)),
    ],
    names,
  );
const withKeys = (keys, names) =>
  gguf({
    pairs: [pair('general.architecture', T.STRING, text('llama')), ...keys],
    tensors: names.map((name, i) => tensor(name, [8], 0, 32 * i)),
    data: 32 * names.length,
  });

const FIRST = 'm-00001-of-00003.gguf';
const SECOND = 'm-00002-of-00003.gguf';
const THIRD = 'm-00003-of-00003.gguf';
const good = { [FIRST]: part(0, 3, 3, 'a'), [SECOND]: part(1, 3, 3, 'b'), [THIRD]: part(2, 3, 3, 'c') };
const without = (name) => Object.fromEntries(Object.entries(good).filter(([other]) => other !== name));
const count = pair('split.count', UINT16, u16(3));

/** name, how it was made, error, files in a directory of that name, what to open there, tensor */
// biome-ignore format: one case a line
const rows = [
  ['split-name', 'a part under a name without its number', 'GgufSplitNameError', { 'm.gguf': part(0, 3, 3, 'a') }, 'm.gguf'],
  ['split-name-count', 'a part that says 3 in a file of 4', 'GgufSplitNameError', { 'm-00001-of-00004.gguf': part(0, 3, 3, 'a') }, 'm-00001-of-00004.gguf'],
  ['split-name-digits', 'numbers of four digits', 'GgufSplitNameError', { 'm-0001-of-0003.gguf': part(0, 3, 3, 'a') }, 'm-0001-of-0003.gguf'],
  ['split-first-missing', 'first of three parts missing', 'GgufMissingPartError', without(FIRST), SECOND],
  ['split-last-missing', 'last of three parts missing', 'GgufMissingPartError', without(THIRD), FIRST],
  ['split-65535', 'one of 65535 parts', 'GgufMissingPartError', { 'm-00001-of-65535.gguf': part(0, 65_535, 1, 'a') }, 'm-00001-of-65535.gguf'],
  ['split-swapped', 'two parts under each other’s names', 'GgufSplitMismatchError', { ...good, [SECOND]: good[THIRD], [THIRD]: good[SECOND] }, FIRST],
  ['split-number-4', 'part 4 of 3', 'GgufSplitNameError', { 'm-00004-of-00003.gguf': part(3, 3, 3, 'd'), ...good }, 'm-00004-of-00003.gguf'],
  ['split-other-count', 'a part of a set of five', 'GgufSplitMismatchError', { ...good, [THIRD]: part(2, 5, 3, 'c') }, FIRST],
  ['split-too-few', 'four tensors promised, three there', 'GgufSplitMismatchError', { ...good, [FIRST]: part(0, 3, 4, 'a') }, FIRST],
  ['split-total-differs', 'a part of a set with other tensors', 'GgufSplitMismatchError', { ...good, [THIRD]: part(2, 3, 9, 'c') }, FIRST],
  ['split-twice', 'a tensor in two parts', 'GgufTensorInTwoPartsError', { ...good, [THIRD]: part(2, 3, 3, 'a') }, FIRST, 'a'],
  ['split-not-split', 'a part without split keys', 'GgufSplitKeyError', { ...good, [SECOND]: withKeys([], ['b']) }, FIRST],
  ['split-no-number', 'no split.no', 'GgufSplitKeyError', { ...good, [FIRST]: withKeys([count], ['a']) }, FIRST],
  ['split-no-total', 'no split.tensors.count', 'GgufSplitKeyError', { ...good, [FIRST]: withKeys([count, pair('split.no', UINT16, u16(0))], ['a']) }, FIRST],
  ['split-count-string', 'split.count is a string', 'GgufSplitKeyError', { ...good, [FIRST]: withKeys([pair('split.count', T.STRING, text('3'))], ['a']) }, FIRST],
  ['split-count-u32', 'split.count is an UINT32', 'GgufSplitKeyError', { ...good, [FIRST]: withKeys([pair('split.count', T.UINT32, u32(3))], ['a']) }, FIRST],
  ['split-damaged', 'second part cut short', 'GgufBeyondFileError', { ...good, [SECOND]: good[SECOND].subarray(0, -1) }, FIRST, 'b'],
  ['split-directory', 'a part is a directory', 'NotARegularFileError', { ...good, [SECOND]: { directory: true } }, FIRST],
  ['split-loop', 'a part is a link to the first', 'GgufSplitMismatchError', { ...good, [SECOND]: { link: FIRST } }, FIRST],
];

export const splitCases = rows.map(([name, how, error, files, open, tensorName]) => ({
  path: `${name}/${open}`,
  how,
  error,
  ...(tensorName === undefined ? {} : { tensor: tensorName }),
  files: Object.fromEntries(Object.entries(files).map(([file, content]) => [`${name}/${file}`, content])),
}));
