import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Interrupted } from '../../src/cli/io.ts';
import { QualityError } from '../../src/cli/quality.ts';
import { reportFailure, run } from '../../src/cli/run.ts';
import { QuantizeError, UsageError } from '../../src/core/errors.ts';
import { fakeIo } from '../support/io.ts';

const existing = 'package.json';

async function outcome(argv: readonly string[]) {
  const fake = fakeIo();
  return { status: await run(argv, fake.io), stdout: fake.stdout(), stderr: fake.stderr() };
}

describe('help and version', () => {
  it('--help', async () => {
    const { status, stdout, stderr } = await outcome(['--help']);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatchSnapshot();
  });

  it.each([['inspect'], ['compare'], ['dequantize'], ['estimate']])('help %s', async (command) => {
    const asked = await outcome(['help', command]);
    expect(asked.status).toBe(0);
    expect(asked.stdout).toContain(`Usage: quantize ${command} [options]`);
    expect(await outcome([command, '--help'])).toEqual(asked);
  });

  it('--version is the package’s', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
    expect(await outcome(['--version'])).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  });
});

describe('bad usage exits 2', () => {
  it.each([
    ['no model', [], "missing required argument 'model'"],
    ['a mistyped option', [existing, '--tpye', 'Q4_0'], 'Did you mean --type?'],
    ['a mistyped option of a command', ['inspect', '--jsn', existing], 'Did you mean --json?'],
    ['a mistyped command', ['inspcet', existing], "did you mean 'quantize inspect'?"],
    ['a mistyped command alone', ['estmate'], "did you mean 'quantize estimate'?"],
    ['help for what is no command', ['help', 'nonsense'], 'unknown command: nonsense'],
    ['help for a mistyped command', ['help', 'inspcet'], "did you mean 'quantize help inspect'?"],
    ['two models', [existing, existing], 'too many arguments'],
    ['two files', ['inspect', existing, existing], 'too many arguments'],
    ['one file', ['compare', existing], "missing required argument 'B'"],
    ['an option without its value', [existing, '--type'], 'argument missing'],
    ['half a bit', [existing, '--bits', '0.5'], 'whole number'],
    ['an odd chunk', [existing, '--chunk-size', '1000'], 'multiple of 32768'],
    [
      'a percentile that is no number',
      ['calibrate', existing, '-o', 'x.json', '--percentile', 'abc'],
      'more than 0, up to 100',
    ],
    ['a negative bar', [existing, '--max-error', '-1'], 'Expected a number of at least 0'],
    ['unknown kernels', [existing, '--kernels', 'gpu'], 'auto, simd, scalar'],
    ['a broken pattern', [existing, '--tensor-type', '(=Q4_0'], 'Invalid regular expression'],
    ['half a layer', [existing, '--prune-layers', '1,2.5'], 'layer numbers'],
    ['a decoding without output', ['dequantize', existing], "required option '-o, --output <file>'"],
    ['a decoding to blocks', ['dequantize', existing, '-o', 'x', '--to', 'Q4_0'], 'F32, F16 or BF16'],
    ['both verbosities', [existing, '--quiet', '--verbose'], 'contradict'],
    ['a report of a dry run', [existing, '--dry-run', '--report', 'r.json'], '--dry-run --json'],
    ['a bar for a dry run', [existing, '--dry-run', '--min-sqnr', '0'], '--min-sqnr'],
    ['two kinds of data on stdout', [existing, '-o', '-', '--json'], 'cannot both go to standard output'],
    ['the same by --report -', [existing, '-o', '-', '--report', '-'], 'cannot both go to standard output'],
  ])('%s', async (_name, argv, message) => {
    const { status, stdout, stderr } = await outcome(argv);
    expect(stderr).toContain(message);
    expect([status, stdout]).toEqual([2, '']);
  });
});

describe('a missing file exits 1', () => {
  it.each([
    [['package.jsn']],
    [['inspect', 'package.jsn']],
    [['compare', existing, 'package.jsn']],
    [['estimate', 'package.jsn']],
  ])('%j', async (argv) => {
    const { status, stdout, stderr } = await outcome(argv);
    expect(stderr).toBe(
      'error: no such file or directory\n  file:     package.jsn\n  to do:    did you mean package.json?\n',
    );
    expect([status, stdout]).toEqual([1, '']);
  });
});

describe('reportFailure', () => {
  const failed = (error: unknown, interrupted?: AbortSignal) => {
    const fake = fakeIo();
    return { status: reportFailure(error, fake.io, interrupted), stderr: fake.stderr() };
  };
  const systemError = (code: string) => Object.assign(new Error(`${code}: no`), { code, syscall: 'write' });

  it.each([
    ['bad input', new QuantizeError('bad'), 1],
    ['bad usage', new UsageError('bad'), 2],
    ['a missed bar', new QualityError('bad'), 3],
    ['a system error', systemError('ENOSPC'), 1],
  ])('%s, without a stack', (_name, error, status) => {
    const { stderr, ...rest } = failed(error);
    expect(rest.status).toBe(status);
    expect(stderr).toBe(`error: ${error.message}\n`);
  });

  it('shows the stack of a bug, and its causes', () => {
    const { status, stderr } = failed(new TypeError('x is not a function', { cause: new Error('deeper') }));
    expect(status).toBe(1);
    expect(stderr).toMatch(/^TypeError: x is not a function\n {4}at /);
    expect(stderr).toMatch(/^caused by Error: deeper\n {4}at /m);
    expect(stderr).toContain('error: this is a bug in quantize; please report it');
  });

  it('is quiet about a reader of text that left, and says that a GGUF was cut off', () => {
    expect(failed(systemError('EPIPE'))).toEqual({ status: 141, stderr: '' });
    expect(failed(new QuantizeError('cut off', { cause: systemError('EPIPE') }))).toEqual({
      status: 1,
      stderr: 'error: cut off\n',
    });
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('says %s by the status', (signal, status) => {
    const interrupted = AbortSignal.abort(new Interrupted(signal));
    expect(failed(interrupted.reason, interrupted)).toEqual({
      status,
      stderr: `error: interrupted by ${signal}\n`,
    });
    expect(failed(new QuantizeError('stopped; a.partial is kept'), interrupted)).toEqual({
      status,
      stderr: 'error: stopped; a.partial is kept\n',
    });
  });

  it('makes names from files safe for a terminal', () => {
    const { stderr } = failed(new QuantizeError('bad', { tensor: 'a\u001b[2Jb', got: 'x' }));
    expect(stderr).toBe('error: bad\n  tensor:   a\ufffd[2Jb\n  got:      x\n');
  });
});
