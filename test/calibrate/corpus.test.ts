import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { ChatTemplate, ChatTemplateError } from '../../src/calibrate/chat-template.ts';
import { CalibrationTooShortError, type CorpusOptions, readCorpus } from '../../src/calibrate/corpus.ts';
import { CalibrationLineError } from '../../src/calibrate/documents.ts';
import { CalibrationFileError, CalibrationTextError } from '../../src/calibrate/text-files.ts';
import { openTokenizer, type Tokenizer } from '../../src/calibrate/tokenizer.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

/** A token for each code point; BOS and EOS beyond them. */
const BOS = 0x110000;
const EOS = BOS + 1;
const characters: Tokenizer = {
  encode: (text) => Array.from(text, (character) => character.codePointAt(0)!),
  ...{ bos: BOS, addsBos: false, eos: EOS, addsEos: false, unknown: 0x3f, size: EOS + 1, chat: null },
};

const defaults: CorpusOptions = { sources: [], field: null, tokens: null, context: 4, seed: 1 };
const read = (options: Partial<CorpusOptions>, tokenizer = characters, metadata: MetadataEntry[] = []) =>
  readCorpus(metadata, tokenizer, { ...defaults, ...options });
const textOf = (windows: readonly Int32Array[]) =>
  windows.map((window) =>
    Array.from(window, (id) => (id === BOS ? '^' : id === EOS ? '$' : String.fromCodePoint(id))).join(''),
  );

/** A file of that content, under a name of its own. */
let count = 0;
const directory = temporaryDirectory();
const file = (content: string | Uint8Array, extension = 'txt') => {
  const name = `${count++}.${extension}`;
  put(directory, name, content);
  return join(directory, name);
};
const lines = (...objects: readonly unknown[]) =>
  file(objects.map((one) => `${JSON.stringify(one)}\n`).join(''), 'jsonl');

describe('windows', () => {
  it('hold the text from its start, what is left over dropped', () => {
    const corpus = read({ sources: [file('abcdefghij')] });
    expect(textOf(corpus.windows)).toEqual(['abcd', 'efgh']);
    expect(corpus).toMatchObject({ context: 4, tokens: 8, bytesRead: 10, warnings: [] });
  });

  it('begin with BOS in place of a token, where the model adds one; so does each document', () => {
    const sources = [file('abcdef'), file('ghijkl')];
    // ^abc def^ ghij, the first of each replaced.
    expect(textOf(read({ sources }, { ...characters, addsBos: true }).windows)).toEqual([
      '^abc',
      '^ef^',
      '^hij',
    ]);
    expect(textOf(read({ sources }, { ...characters, addsEos: true }).windows)).toEqual([
      'abcd',
      'ef$g',
      'hijk',
    ]);
  });

  it('that are wanted are drawn from equal runs, by the seed', () => {
    const text = Array.from({ length: 4000 }, (_, i) => String.fromCodePoint(0x4e00 + i)).join('');
    const sources = [file(text)];
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 0, max: 2 ** 32 }), (wanted, seed) => {
        const corpus = read({ sources, tokens: 4 * wanted + 3, seed });
        const places = corpus.windows.map((window) => (window[0] - 0x4e00) / 4);
        expect(places.length).toBe(wanted);
        for (const [i, place] of places.entries()) {
          expect(place).toBeGreaterThanOrEqual(Math.floor((i * 1000) / wanted));
          expect(place).toBeLessThan(Math.floor(((i + 1) * 1000) / wanted));
        }
        expect(read({ sources, tokens: 4 * wanted + 3, seed }).sha256).toBe(corpus.sha256);
      }),
      { numRuns: 50 },
    );
    const first = read({ sources, tokens: 400 });
    expect(read({ sources, tokens: 400, seed: 2 }).sha256).not.toBe(first.sha256);
    expect(read({ sources, tokens: 4000, seed: 2 }).sha256).toBe(read({ sources, tokens: 4000 }).sha256);
  });

  it('are no longer than what the model was trained on', () => {
    const metadata: MetadataEntry[] = [
      { key: 'general.architecture', type: 'STRING', value: 'llama' },
      { key: 'llama.context_length', type: 'UINT32', value: 8 },
    ];
    const sources = [file('x'.repeat(2000))];
    expect(read({ sources, context: null }, characters, metadata)).toMatchObject({
      context: 8,
      warnings: [],
    });
    expect(read({ sources, context: null })).toMatchObject({ context: 512 });
    const capped = read({ sources, context: 9 }, characters, metadata);
    expect(capped.context).toBe(8);
    expect(capped.warnings.join()).toMatch(/trained on 8 tokens/);
  });

  it('warn of fewer tokens than wanted, and of unknown ones', () => {
    expect(read({ sources: [file('abcdefgh')], tokens: 100 }).warnings.join()).toMatch(
      /gives 8 tokens, not the 100/,
    );
    expect(read({ sources: [file('ab?defgh')] }).warnings.join()).toMatch(/1 calibration tokens \(13 %\)/);
  });

  it.each([[{ context: 1 }], [{ context: 2.5 }], [{ tokens: 3 }], [{ tokens: Number.NaN }]])(
    'refuse %o',
    (options) => {
      expect(() => read({ sources: [file('abcdefgh')], ...options })).toThrow(UsageError);
    },
  );

  it('refuse text that fills none', () => {
    expect(() => read({ sources: [file('abc')] })).toThrow(CalibrationTooShortError);
    expect(() => read({ sources: [file(' \n\n \t')] })).toThrow(CalibrationTooShortError);
  });
});

describe('the bundled text', () => {
  let tokenizer: Tokenizer;
  let metadata: readonly MetadataEntry[];
  const convert = conversions(sotu);
  beforeAll(async () => {
    const { path } = await convert({ type: 'Q8_0' });
    metadata = readGguf(path).metadata;
    tokenizer = openTokenizer(metadata, path);
  });

  it('is read when nothing else is named', () => {
    const options = { ...defaults, tokens: 131_072, context: null };
    const corpus = readCorpus(metadata, tokenizer, options);
    expect(corpus).toMatchObject({
      name: 'bundled: public-domain English prose',
      context: 256,
      tokens: 131_072,
      bytesRead: 600_000,
      warnings: [],
    });
    expect(corpus.files.map(({ bytes }) => bytes)).toEqual([600_000]);
    // Tokens, windows and the generator are fixed: reports of equal runs show equal hashes.
    expect(corpus.sha256).toBe('8dcb9d4f616a49e8e08064d6ccd1766c05161c0c4c07fd38d2db424fb40d73d4');
  });
});

describe('large files', () => {
  const words = Array.from({ length: 60_000 }, (_, i) => `word${i}`);

  it('are sampled: no more is read than 1 MiB or 16 bytes a wanted token, at places the seed draws', () => {
    const text = words.map((word) => `${word} of é\n`).join('');
    const sources = [file(text), file(text)];
    const options = { sources, context: 64, tokens: 4096 };
    const corpus = read(options);
    expect(corpus.bytesRead).toBeLessThanOrEqual(2 ** 20);
    expect(corpus.windows.length).toBe(64);
    // Slices follow each other, so a window may hold the end of one and the start of the next.
    const whole = textOf(corpus.windows).filter((window) => text.includes(window));
    expect(whole.length).toBeGreaterThan(56);
    expect(read(options).sha256).toBe(corpus.sha256);
    expect(read({ ...options, seed: 2 }).sha256).not.toBe(corpus.sha256);
  });

  it('of lines are sampled by whole lines, and more is read while there is too little text', () => {
    const text = words
      .map((word) => JSON.stringify({ padding: 'p'.repeat(200), text: `<${word}>` }))
      .join('\n');
    const corpus = read({ sources: [file(text, 'jsonl')], context: 4, tokens: 65_536 });
    expect(corpus.windows.length).toBe(16_384);
    expect(corpus.bytesRead).toBeGreaterThan(2 ** 20);
    expect(corpus.bytesRead).toBeLessThan(text.length);
    expect(textOf(corpus.windows).join('')).toMatch(/^([<>word0-9])+$/);
  });

  it('of text are several documents, none of it lost, no character cut', () => {
    const spaced = words
      .map((word) => `${word} ünï\n`)
      .join('')
      .repeat(8);
    const unspaced = '日本語'.repeat(500_000);
    for (const text of [spaced, unspaced]) {
      const { windows } = read({ sources: [file(text)], context: 1000 }, { ...characters, addsEos: true });
      const all = textOf(windows).join('');
      expect(all).toContain('$');
      expect(all.replaceAll('$', '').length).toBeGreaterThan(text.length - 1010);
      expect(text.startsWith(all.replaceAll('$', ''))).toBe(true);
    }
  });
});

describe('sources', () => {
  it('of a directory are its text files by name', () => {
    const folder = join(directory, 'folder');
    mkdirSync(join(folder, 'sub.txt'), { recursive: true });
    put(folder, 'b.txt', 'bbbb');
    put(folder, 'a.md', 'aaaa');
    put(folder, 'c.jsonl', '{"text":"cccc"}\n');
    put(folder, 'd.bin', 'dddd');
    const corpus = read({ sources: [folder, file('eeee')] });
    expect(textOf(corpus.windows)).toEqual(['aaaa', 'bbbb', 'cccc', 'eeee']);
    expect(corpus.files.map(({ path, bytes }) => [path.slice(folder.length), bytes]).slice(0, 3)).toEqual([
      ['/a.md', 4],
      ['/b.txt', 4],
      ['/c.jsonl', 16],
    ]);
    expect(corpus.name).toMatch(/folder, .*\.txt$/);
  });

  it('may begin with a byte order mark', () => {
    expect(textOf(read({ sources: [file('\ufeffabcd')] }).windows)).toEqual(['abcd']);
  });

  it('of JSON lines give "text", or the field that is named; empty lines and texts nothing', () => {
    const source = file(
      '{"text":"abcd","body":"wxyz"}\r\n\n{"text":"","body":" "}\n{"body":"1234","text":"efgh"}',
      'jsonl',
    );
    expect(textOf(read({ sources: [source] }).windows)).toEqual(['abcd', 'efgh']);
    expect(textOf(read({ sources: [source], field: 'body' }).windows)).toEqual(['wxyz', '1234']);
  });

  it('lone surrogates become U+FFFD', () => {
    expect(textOf(read({ sources: [file('{"text":"ab\\ud800d"}', 'jsonl')] }).windows)).toEqual([
      'ab\ufffdd',
    ]);
  });

  it('of chat messages go through the template, its special tokens taken for themselves', () => {
    const template =
      "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m.content | trim }}{% endfor %}{{ eos_token }}";
    const specials: boolean[] = [];
    const tokenizer: Tokenizer = {
      ...characters,
      addsBos: true,
      addsEos: true,
      encode: (text, { special = false } = {}) => {
        specials.push(special);
        return Array.from(text, (c) => (c === '^' ? BOS : c === '$' ? EOS : c.codePointAt(0)!));
      },
      chat: new ChatTemplate(template, '^', '$'),
    };
    const messages = [
      { role: 'u', content: ' hi ' },
      { role: 'a', content: 'yo' },
    ];
    for (const [source, field] of [
      [lines({ messages }), null],
      [lines({ chat: messages, text: 'no' }), 'chat'],
    ] as const) {
      expect(textOf(read({ sources: [source], field, context: 12 }, tokenizer).windows)).toEqual([
        '^<u>hi<a>yo$',
      ]);
    }
    expect(specials).toEqual([true, true]);
  });

  it('a template sees the same date in every run', () => {
    const template = new ChatTemplate("{{ strftime_now('%d %b %Y') }} {{ range(2) | join }}", '', '');
    expect(template.render([], {}, 'x')).toBe('26 Jul 2024 01');
  });
});

describe('errors', () => {
  const chat = new ChatTemplate("{{ raise_exception('no system role') }}", '', '');

  it.each([
    ['missing', () => [join(directory, 'none.txt')], CalibrationFileError, /no such/],
    ['empty', () => [file('')], CalibrationFileError, /is empty/],
    ['a directory without text', () => [sotu], CalibrationFileError, /ending in \.txt, \.md, \.jsonl/],
    ['a device', () => ['/dev/null'], CalibrationFileError, /neither/],
    ['zero bytes', () => [file('abc\0def')], CalibrationTextError, /zero byte at offset 3/],
    ['not UTF-8', () => [file(Uint8Array.of(0x61, 0xff, 0x62))], CalibrationTextError, /not UTF-8/],
    ['no JSON', () => [file('{"text":"abcd"}\n\n{text}\n', 'jsonl')], CalibrationLineError, /\.jsonl:3/],
    ['no object', () => [file('"abcd"\n', 'jsonl')], CalibrationLineError, /"\\?"abcd\\?""|"abcd"/],
    ['no such field', () => [lines({ a: 'b', c: 1 })], CalibrationLineError, /fields a, c/],
    ['a field that is no text', () => [lines({ text: 5 })], CalibrationLineError, /fields text/],
    ['chat without a template', () => [lines({ messages: [] })], CalibrationLineError, /chat_template/],
  ])('%s', (_name, sources, type, message) => {
    const run = () => read({ sources: sources() });
    expect(run).toThrow(type);
    expect(run).toThrow(message);
  });

  it('a conversation that the template refuses, or a template that is none', () => {
    const sources = [lines({ messages: [{ role: 'system', content: 'x' }] })];
    expect(() => read({ sources }, { ...characters, chat })).toThrow(ChatTemplateError);
    expect(() => read({ sources }, { ...characters, chat })).toThrow(/jsonl:1[\s\S]*no system role/);
    expect(() => read({ sources }, { ...characters, chat: new ChatTemplate('{% for', '', '') })).toThrow(
      ChatTemplateError,
    );
  });
});
