import { mkdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { FileMissingError, FileTooLargeError, NotARegularFileError } from '../../src/read/byte-source.ts';
import {
  ModelFileContentError,
  ModelFileEncodingError,
  ModelFileJsonError,
  readModelFiles,
} from '../../src/read/model-files.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

describe('model files', () => {
  it('are all optional', () => {
    const directory = temporaryDirectory();
    expect(readModelFiles(directory)).toEqual({
      directory,
      config: null,
      generationConfig: null,
      tokenizer: null,
      tokenizerConfig: null,
      specialTokensMap: null,
      addedTokens: null,
      chatTemplate: null,
      tokenizerModel: null,
      readme: null,
    });
  });

  it('are each read from their own file', () => {
    const directory = temporaryDirectory();
    const names = [
      'config',
      'generation_config',
      'tokenizer',
      'tokenizer_config',
      'special_tokens_map',
      'added_tokens',
    ];
    for (const name of names) put(directory, `${name}.json`, JSON.stringify({ from: name }));
    put(directory, 'chat_template.jinja', '{{ a }}\r\n{{ b }}');
    put(directory, 'chat_template.json', '{"chat_template":"the other one"}');
    put(directory, 'tokenizer.model', Uint8Array.of(10, 0, 255));
    put(directory, 'README.md', '---\r\nlicense: mit\r\ntags:\r\n- a\r\n---\r\n# Title\r\n---\r\n');
    const files = readModelFiles(directory);
    const { config, generationConfig, tokenizer, tokenizerConfig, specialTokensMap, addedTokens } = files;
    const read = [config, generationConfig, tokenizer, tokenizerConfig, specialTokensMap, addedTokens];
    expect(read.map((file) => file?.from)).toEqual(names);
    expect(files.chatTemplate).toBe('{{ a }}\n{{ b }}');
    expect([...files.tokenizerModel!]).toEqual([10, 0, 255]);
    expect(files.readme).toBe('license: mit\ntags:\n- a\n');
  });

  it('take the template of chat_template.json where there is no other', () => {
    const directory = temporaryDirectory();
    put(directory, 'chat_template.json', '{"chat_template":"x"}');
    expect(readModelFiles(directory).chatTemplate).toBe('x');
    put(directory, 'chat_template.json', '{"chat_template":[{"name":"default","template":"x"}]}');
    expect(() => readModelFiles(directory)).toThrow(ModelFileContentError);
  });

  it.each([
    ['# Title\n---\na: b\n---\n', null],
    ['', null],
    ['---\na: b\n', 'a: b\n\n'],
    ['\ufeff---\na: b\n---\n', 'a: b\n'],
  ])('front matter of %j', (text, expected) => {
    const directory = temporaryDirectory();
    put(directory, 'README.md', text);
    expect(readModelFiles(directory).readme).toBe(expected);
  });

  it('may begin with a byte order mark, and hold what Python writes for numbers that JSON lacks', () => {
    const directory = temporaryDirectory();
    put(
      directory,
      'config.json',
      '\ufeff{"limit": [0.0, Infinity, -Infinity, NaN], "text": "NaN \\" Infinity"}',
    );
    expect(readModelFiles(directory).config).toEqual({
      limit: [0, null, null, null],
      text: 'NaN " Infinity',
    });
  });

  it.each([
    ['{"a":', ModelFileJsonError],
    ['', ModelFileJsonError],
    ['{"a": Nan}', ModelFileJsonError],
    ['[]', ModelFileContentError],
    ['null', ModelFileContentError],
    ['"text"', ModelFileContentError],
  ])('name the file that is wrong: %j', (text, error) => {
    const directory = temporaryDirectory();
    const path = put(directory, 'tokenizer_config.json', text);
    expect(() => readModelFiles(directory)).toThrow(error);
    expect(() => readModelFiles(directory)).toThrow(path);
  });

  it('must be UTF-8, which U+FFFD also is', () => {
    const directory = temporaryDirectory();
    put(directory, 'tokenizer.json', '{"a":"\ufffd"}');
    expect(readModelFiles(directory).tokenizer).toEqual({ a: '\ufffd' });
    const path = put(directory, 'tokenizer.json', Buffer.from('{"a":"\xff"}', 'latin1'));
    expect(() => readModelFiles(directory)).toThrow(ModelFileEncodingError);
    expect(() => readModelFiles(directory)).toThrow(path);
  });

  it('are refused when too large, before they are read', () => {
    const directory = temporaryDirectory();
    truncateSync(put(directory, 'config.json', '{}'), 2 ** 33);
    expect(() => readModelFiles(directory)).toThrow(FileTooLargeError);
  });

  it('are looked for only in a directory', () => {
    expect(() => readModelFiles(fileURLToPath(import.meta.url))).toThrow(FileMissingError);
    expect(() => readModelFiles('/nowhere')).toThrow(FileMissingError);
  });

  it('must be files', () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'tokenizer.json'));
    expect(() => readModelFiles(directory)).toThrow(NotARegularFileError);
  });
});
