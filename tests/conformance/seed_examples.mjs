// The TypeScript examples of seed 003 with openai from npm. What they need and do not get is given to them here:
// `require`, which their mixture of both module systems takes for granted, and `videos.createAndPoll`, which
// this client does not have. The number of milliseconds between two looks is replaced.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import OpenAI from 'openai';

const FENCE = /^line (\d+)\n\n```ts\n(.*?)\n```$/gms;
const BLOCKS = new Map(
  [...readFileSync('003.txt', 'utf8').matchAll(FENCE)].map(([, line, text]) => [Number(line), text]),
);
const GIVEN = `
import { createRequire } from 'node:module';
import OpenAI from 'openai';
globalThis.require = createRequire(import.meta.url);
OpenAI.Videos.prototype.createAndPoll ??= async function (body) {
  let video = await this.create(body);
  while (video.status === 'queued' || video.status === 'in_progress') video = await this.retrieve(video.id);
  return video;
};
`;
const BICKFORD = 63; // imports a package that is not published

function perform(line) {
  writeFileSync('given.mjs', GIVEN);
  writeFileSync(`example_${line}.mjs`, BLOCKS.get(line).replace(/resolve, \d+/, 'resolve, 10'));
  const ended = spawnSync('node', ['--import', './given.mjs', `example_${line}.mjs`], { encoding: 'utf8' });
  assert.equal(ended.status, 0, ended.stderr);
  return ended.stdout;
}

test('every example has a test', () => {
  assert.deepEqual([...BLOCKS.keys()], [BICKFORD, 116, 193, 274]);
});

test('the client has no createAndPoll of its own', () => {
  assert.equal(OpenAI.Videos.prototype.createAndPoll, undefined);
});

test('the example that starts a render prints the video', () => {
  assert.match(perform(116), /Video generation started: .*status: '(queued|in_progress)'/s);
});

test('the example that waits sees the video completed', () => {
  assert.match(perform(193), /Video successfully completed: .*status: 'completed'/s);
});

test('the example that downloads writes the video', () => {
  assert.match(perform(274), /Processing: \[=+\] 100\.0%.*Wrote video\.mp4/s);
  assert.ok(existsSync('video.mp4') && readFileSync('video.mp4').subarray(4, 8).toString() === 'ftyp');
});
