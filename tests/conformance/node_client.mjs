// The calls of the official Node client against the sandbox or the gateway, with node's own test runner. The package on npm
// carries no tests, so these are ours: the operations its repository tests, and the forms only it sends
// (objects in brackets).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { before, test } from 'node:test';

import OpenAI, { toFile } from 'openai';

const client = new OpenAI({
  apiKey: process.env.TEST_API_KEY,
  baseURL: process.env.TEST_API_BASE_URL,
  maxRetries: 0,
});
const image = readFileSync(`${process.env.SAMPLES}/image.png`);
const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

let source;

before(async () => {
  source = await completed({ prompt: 'a kite', size: '1280x720', seconds: '8' });
});

const isVideo = (video) => {
  assert.equal(video.object, 'video');
  for (const field of ['id', 'model', 'status', 'progress', 'created_at', 'size', 'seconds']) {
    assert.notEqual(video[field], null, field);
  }
};

test('create takes a prompt alone, and gives data and response', async () => {
  const { data, response } = await client.videos.create({ prompt: 'x' }).withResponse();
  isVideo(data);
  assert.match(response.headers.get('x-request-id'), /^req_/);
});

test('create takes a file and every parameter', async () => {
  isVideo(
    await client.videos.create({
      prompt: 'x',
      input_reference: await toFile(image, 'first.png'),
      model: 'sora-2',
      seconds: '4',
      size: '720x1280',
    }),
  );
});

test('create sends an input_reference object in brackets', async () => {
  const url = `data:image/png;base64,${PIXEL}`;
  const wrongSize = client.videos.create({ prompt: 'x', input_reference: { image_url: url } });
  await assert.rejects(wrongSize, /must match the requested width and height|the video's size is 720x1280; send it in that size/);
});

test('create sends a list of characters in brackets', async () => {
  isVideo(await client.videos.create({ prompt: 'x', characters: [{ id: 'char_123' }] }));
});

test('retrieve gives a video', async () => isVideo(await client.videos.retrieve('video_123')));

test('retrieve of what is not there is a NotFoundError with code and param', async () => {
  await assert.rejects(client.videos.retrieve('video_0'), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.deepEqual([error.code, error.param], ['video_not_found', 'video_id']);
    return true;
  });
});

test('list goes through the pages', async () => {
  const ids = [];
  for await (const video of client.videos.list({ limit: 1, order: 'asc' })) ids.push(video.id);
  assert.ok(ids.includes(source.id));
  assert.equal(new Set(ids).size, ids.length);
});

test('list takes limit 0 after an id that is not there', async () => {
  assert.deepEqual((await client.videos.list({ after: 'after', limit: 0, order: 'asc' })).data, []);
});

test('a path that is not there is a NotFoundError', async () => {
  const there = { path: '/nowhere' };
  await assert.rejects(client.videos.list({ limit: 0 }, there), OpenAI.NotFoundError);
  await assert.rejects(client.videos.downloadContent('video_123', {}, there), OpenAI.NotFoundError);
});

for (const [variant, type] of [
  ['video', 'video/mp4'],
  ['thumbnail', 'image/webp'],
  ['spritesheet', 'image/jpeg'],
]) {
  test(`downloadContent gives the ${variant}`, async () => {
    const content = await client.videos.downloadContent(source.id, { variant });
    assert.equal(content.headers.get('content-type'), type);
    assert.ok((await content.arrayBuffer()).byteLength > 1000);
  });
}

test('remix names its source', async () => {
  const remix = await client.videos.remix(source.id, { prompt: 'in rust' });
  assert.equal(remix.remixed_from_video_id, source.id);
});

test('edit sends the video in brackets', async () => {
  const edit = await client.videos.edit({ prompt: 'in rust', video: { id: source.id } });
  assert.deepEqual([edit.size, edit.remixed_from_video_id], ['1280x720', source.id]);
});

test('edit takes an upload', async () => {
  const clip = await client.videos.downloadContent(source.id);
  isVideo(await client.videos.edit({ prompt: 'in rust', video: await toFile(clip, 'kite.mp4') }));
});

test('extend sends the video in brackets and gives the stitched total', async () => {
  const longer = await client.videos.extend({ prompt: 'x', seconds: '12', video: { id: source.id } });
  assert.equal(longer.seconds, '20');
});

test('createCharacter gives what getCharacter gives', async () => {
  const short = await completed({ prompt: 'x', seconds: '4' });
  const clip = await toFile(await client.videos.downloadContent(short.id), 'mossy.mp4');
  const made = await client.videos.createCharacter({ name: 'Mossy', video: clip });
  assert.deepEqual(await client.videos.getCharacter(made.id), made);
});

test('delete confirms', async () => assert.ok((await client.videos.delete('video_123')).deleted));

test('a webhook is believed by verifySignature', async () => {
  const received = Promise.withResolvers?.() ?? deferred();
  const receiver = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    response.end();
    received.resolve({ body: Buffer.concat(chunks).toString(), headers: new Headers(request.headers) });
  });
  await new Promise((listening) => receiver.listen(0, '127.0.0.1', listening));
  try {
    const endpoint = await client.webhooks.create({
      name: 'mine',
      url: `http://127.0.0.1:${receiver.address().port}/`,
      event_types: ['video.completed'],
    });
    const video = await client.videos.create({ prompt: 'x' });
    const { body, headers } = await received.promise;
    await client.webhooks.verifySignature(body, headers, endpoint.signing_secret);
    assert.equal(JSON.parse(body).data.id, video.id);
    assert.ok((await client.webhooks.delete(endpoint.id)).deleted);
  } finally {
    receiver.close();
  }
});

test('a secret can be rotated, an endpoint updated and listed', async () => {
  const endpoint = await client.webhooks.create({
    name: 'mine',
    url: 'https://example.com/hook',
    event_types: ['video.failed'],
  });
  const rotated = await client.webhooks.rotateSecret(endpoint.id, {
    keep_old_secret_active_for_24_hours: true,
  });
  assert.notEqual(rotated.signing_secret, endpoint.signing_secret);
  assert.equal((await client.webhooks.update(endpoint.id, { name: 'yours' })).name, 'yours');
  assert.equal((await client.webhooks.list({ limit: 1 })).data[0].id, endpoint.id);
});

async function completed(wanted) {
  let video = await client.videos.create(wanted);
  while (video.status !== 'completed') {
    assert.notEqual(video.status, 'failed');
    await new Promise((resume) => setTimeout(resume, 600));
    video = await client.videos.retrieve(video.id);
  }
  return video;
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
