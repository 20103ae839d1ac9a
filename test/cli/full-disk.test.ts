import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { bundledModel, quantize, shell, start, until } from '../support/cli.ts';
import { generatedCheckpoint, slowly } from '../support/generated.ts';
import { canMount } from '../support/mount.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Disks without room and limits on file sizes: a named error, status 1 and nothing at the output. */

const { model } = generatedCheckpoint();

/** A file system in memory, of a few mebibytes; gone when the test ends. */
function smallDisk(mebibytes: number): string {
  const place = join(temporaryDirectory(), 'disk');
  mkdirSync(place);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'quantize-test', place], {
    stdio: 'ignore',
  });
  onTestFinished(() => void execFileSync('umount', [place]));
  return place;
}

describe('a limit on the size of files', () => {
  it('is named with the way to raise it, and nothing stays', async () => {
    const place = temporaryDirectory();
    const output = join(place, 'm.gguf');
    const run = shell(`ulimit -f 1000; "$QUANTIZE" ${bundledModel} --type Q8_0 --quiet -o ${output}`);
    const { status, stderr } = await run.ended;
    expect(stderr).toBe(
      'error: the file may not become that large\n' +
        `  file:     ${output}.partial\n` +
        '  got:      EFBIG: file too large, ftruncate\n' +
        '  to do:    raise the limit (ulimit -f), or write to a file system that takes larger files\n',
    );
    expect(status).toBe(1);
    expect(readdirSync(place)).toEqual([]);
  });
});

describe.runIf(canMount)('a full disk (needs the right to mount)', () => {
  it('is found before any work when the room is too small', async () => {
    const disk = smallDisk(2);
    const { status, stderr } = await quantize([
      ...[bundledModel, '--type', 'Q8_0', '--quiet', '-o', join(disk, 'm.gguf')],
    ]);
    expect(stderr).toMatch(
      /^error: the disk has too little room for the output\n.*\n {2}expected: \d{7} bytes free\n {2}got: {6}\d{7} bytes free\n/,
    );
    expect(status).toBe(1);
    expect(readdirSync(disk)).toEqual([]);
  });

  it('counts what an interrupted run has left as free', async () => {
    const disk = smallDisk(4);
    const output = join(disk, 'm.gguf');
    writeFileSync(`${output}.partial`, Buffer.alloc(3e6));
    writeFileSync(`${output}.partial.json`, '{}');
    const { status, stderr } = await quantize([bundledModel, '--type', 'Q4_K_M', '--quiet', '-o', output]);
    expect([status, stderr]).toEqual([0, '']);
  });

  it('that fills up on the way ends the run, keeps what is done, and the next run succeeds', async () => {
    const disk = smallDisk(10);
    const output = join(disk, 'm.gguf');
    const run = start([model, ...slowly, '--quiet', '-o', output]);
    await until(() => readdirSync(disk).includes('m.gguf.partial'), 'the output');
    const junk = join(disk, 'junk');
    expect(() => writeFileSync(junk, Buffer.alloc(11 << 20))).toThrow('ENOSPC');
    const { status, stderr } = await run.ended;
    expect(stderr).toContain(
      `error: the disk filled up\n  file:     ${output}.partial\n  got:      ENOSPC: no space left`,
    );
    expect(stderr).toContain(`kept ${output}.partial and ${output}.partial.json`);
    expect(stderr).not.toMatch(/\n {4}at /);
    expect(status).toBe(1);
    expect(readdirSync(disk).sort()).toEqual(['junk', 'm.gguf.partial', 'm.gguf.partial.json']);
    expect(JSON.parse(readFileSync(`${output}.partial.json`, 'utf8'))).toMatchObject({ version: 1 });

    rmSync(junk);
    const again = await quantize([model, '--type', 'Q4_K_M', '--quiet', '-o', output]);
    expect(again).toMatchObject({ status: 0, stderr: '' });
    expect(readdirSync(disk)).toEqual(['m.gguf']);
  });
});
