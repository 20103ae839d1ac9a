import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { parseOverrides, withOverrides } from '../../src/plan/overrides.ts';

describe('--override-kv', () => {
  it.each([
    ['a.b=int:3', 'UINT32', 3],
    ['a.b=int:4294967295', 'UINT32', 4_294_967_295],
    ['a.b=float:-1.5e-3', 'FLOAT32', -0.0015],
    ['a.b=bool:true', 'BOOL', true],
    ['a.b=bool:false', 'BOOL', false],
    ['a.b=str:', 'STRING', ''],
    ['a.b=str:x=y:z\n', 'STRING', 'x=y:z\n'],
    ['general.alignment=int:64', 'UINT32', 64],
  ])('%j', (text, type, value) => {
    const [key] = text.split('=');
    expect(parseOverrides([text])).toEqual([{ key, type, value }]);
  });

  it.each([
    ['a', 'KEY=TYPE:VALUE'],
    ['a=3', 'KEY=TYPE:VALUE'],
    ['=int:3', 'KEY=TYPE:VALUE'],
    ['a=u32:3', 'one of int, float, bool, str'],
    ['a=toString:3', 'one of int, float, bool, str'],
    ['a=int:-1', 'stored as UINT32'],
    ['a=int:4294967296', 'stored as UINT32'],
    ['a=int:3.5', 'stored as UINT32'],
    ['a=int:', 'stored as UINT32'],
    ['a=float:x', 'finite decimal number'],
    ['a=float:1e39', 'finite decimal number'],
    ['a=bool:1', 'true or false'],
    ['split.count=int:3', 'split.* keys are written'],
    ['general.alignment=int:48', 'power of two'],
    ['general.alignment=int:0', 'power of two'],
    ['general.alignment=str:32', 'power of two'],
  ])('%j is refused', (text, message) => {
    expect(() => parseOverrides([text])).toThrow(UsageError);
    expect(() => parseOverrides([text])).toThrow(message);
  });

  it('takes a key once', () => {
    expect(() => parseOverrides(['a=int:1', 'b=int:1', 'a=str:x'])).toThrow('names a twice');
  });

  it('moves what it sets to the end', () => {
    const [a, b, c] = parseOverrides(['a=int:1', 'b=int:2', 'c=int:3']);
    const [again] = parseOverrides(['a=str:x']);
    expect(withOverrides([a, b], [c, again])).toEqual([b, c, again]);
  });
});
