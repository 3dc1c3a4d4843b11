// The MCP server behind the gateway: everything that the conformance suite asks of a server, on the official TypeScript
// SDK, in both eras (2025-11-25 with sessions, 2026-07-28 without). The suite reaches it directly and through the gateway.
//
// `start()` binds a free port of 127.0.0.1 and resolves to { url, close }.

import { randomUUID, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

import {
  localhostHostValidation,
  localhostOriginValidation,
  NodeStreamableHTTPServerTransport,
  toNodeHandler,
  toWebRequest,
} from '@modelcontextprotocol/node';
import {
  acceptedContent,
  createMcpHandler,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  inputResponse,
  isLegacyRequest,
  McpServer,
  ResourceTemplate,
} from '@modelcontextprotocol/server';
import * as z from 'zod';

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';
const SILENCE = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=';

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const text = (words) => ({ type: 'text', text: words });
const said = (...content) => ({ content });
const object = (properties, required = Object.keys(properties)) => ({ type: 'object', properties, required });
const string = { type: 'string' };

// The state that multi-round answers carry is sealed, as the specification asks.
const states = createRequestStateCodec({ key: randomBytes(32) });

// --- what can be called ----------------------------------------------------------------------------------------------

function simpleTools(server) {
  const tool = (name, description, run, inputSchema) => server.registerTool(name, { description, inputSchema }, run);

  tool('test_simple_text', 'Says a sentence', () => said(text('This is a simple text response for testing.')));
  tool('test_image_content', 'Shows a pixel', () => said({ type: 'image', data: PIXEL, mimeType: 'image/png' }));
  tool('test_audio_content', 'Plays silence', () => said({ type: 'audio', data: SILENCE, mimeType: 'audio/wav' }));
  tool('test_embedded_resource', 'Embeds a resource', () =>
    said({
      type: 'resource',
      resource: {
        uri: 'test://embedded-resource',
        mimeType: 'text/plain',
        text: 'This is an embedded resource content.',
      },
    }),
  );
  tool('test_multiple_content_types', 'Says, shows and embeds', () =>
    said(
      text('Multiple content types test:'),
      { type: 'image', data: PIXEL, mimeType: 'image/png' },
      {
        type: 'resource',
        resource: {
          uri: 'test://mixed-content-resource',
          mimeType: 'application/json',
          text: JSON.stringify({ test: 'data', value: 123 }),
        },
      },
    ),
  );
  tool('test_error_handling', 'Fails', () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  const log = async (_, { mcpReq }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await mcpReq.log('info', data);
      await wait(50);
    }
    return said(text('logged'));
  };
  tool('test_tool_with_logging', 'Logs three times', log, z.object({}));
  tool('test_logging_tool', 'Logs as often as the client wants to hear it', log, z.object({}));
  tool(
    'test_tool_with_progress',
    'Reports progress three times',
    async (_, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        if (progressToken !== undefined) {
          const params = { progressToken, progress, total: 100 };
          await mcpReq.notify({ method: 'notifications/progress', params });
        }
        await wait(50);
      }
      return said(text('done'));
    },
    z.object({}),
  );
  tool(
    'test_reconnection',
    'Drops its stream in the middle and ends on the next one',
    async (_, { http }) => {
      http?.closeSSE?.();
      await wait(100);
      return said(text('resumed'));
    },
    z.object({}),
  );
  tool(
    'json_schema_2020_12_tool',
    'Has a schema of the 2020-12 draft',
    () => said(text('valid')),
    fromJsonSchema({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $defs: { address: { $anchor: 'addressDef', type: 'object', properties: { street: string, city: string } } },
      type: 'object',
      properties: {
        name: string,
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: string,
        email: string,
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    }),
  );
  tool(
    'test_x_mcp_header',
    'Takes its argument from a header as well',
    ({ region }) => said(text(`region ${region}`)),
    fromJsonSchema(object({ region: { type: 'string', 'x-mcp-header': 'Region' } }, [])),
  );
}

// What a server asks its client in the middle of a call: until 2025-11-25 a request of its own.
function asking(server) {
  const tool = (name, description, run, inputSchema = z.object({})) =>
    server.registerTool(name, { description, inputSchema }, run);
  const elicit = ({ mcpReq }, message, requestedSchema) =>
    mcpReq.send({ method: 'elicitation/create', params: { message, requestedSchema } });
  const completed = ({ action, content }) =>
    said(text(`Elicitation completed: action=${action}, content=${JSON.stringify(content ?? {})}`));

  tool(
    'test_sampling',
    "Asks the client's model",
    async ({ prompt }, { mcpReq }) => {
      const params = { messages: [{ role: 'user', content: text(prompt) }], maxTokens: 100 };
      const { content } = await mcpReq.send({ method: 'sampling/createMessage', params });
      return said(text(`LLM response: ${content.text}`));
    },
    z.object({ prompt: z.string() }),
  );
  tool(
    'test_elicitation',
    'Asks the person',
    async ({ message }, context) => {
      const { action, content } = await elicit(context, message, object({ username: string, email: string }));
      return said(text(`User response: action: ${action}, content: ${JSON.stringify(content ?? {})}`));
    },
    z.object({ message: z.string() }),
  );
  tool('test_elicitation_sep1034_defaults', 'Asks the person, with defaults', async (_, context) =>
    completed(
      await elicit(
        context,
        'Are these right?',
        object(
          {
            name: { type: 'string', default: 'John Doe' },
            age: { type: 'integer', default: 30 },
            score: { type: 'number', default: 95.5 },
            status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
            verified: { type: 'boolean', default: true },
          },
          [],
        ),
      ),
    ),
  );
  const titled = (what) => ['First', 'Second', 'Third'].map((n, i) => ({ const: `value${i + 1}`, title: `${n} ${what}` }));
  const options = ['option1', 'option2', 'option3'];
  tool('test_elicitation_sep1330_enums', 'Asks the person to choose', async (_, context) =>
    completed(
      await elicit(
        context,
        'Choose',
        object(
          {
            untitledSingle: { type: 'string', enum: options },
            titledSingle: { type: 'string', oneOf: titled('Option') },
            legacyEnum: {
              type: 'string',
              enum: ['opt1', 'opt2', 'opt3'],
              enumNames: ['Option One', 'Option Two', 'Option Three'],
            },
            untitledMulti: { type: 'array', items: { type: 'string', enum: options } },
            titledMulti: { type: 'array', items: { anyOf: titled('Choice') } },
          },
          [],
        ),
      ),
    ),
  );
}

// The same since 2026-07-28: the answer says what is missing, and the client calls again.
function multiRound(server) {
  const tool = (name, description, run) => server.registerTool(name, { description, inputSchema: z.object({}) }, run);
  const { elicit, createMessage, listRoots } = inputRequired;
  const name = (message) => elicit({ message, requestedSchema: object({ name: string }) });
  const sample = (words, maxTokens) =>
    createMessage({ messages: [{ role: 'user', content: text(words) }], maxTokens });
  const sampled = (responses, key) => inputResponse(responses, key).result?.content?.text;

  tool('test_input_required_result_elicitation', 'Asks for a name', (_, { mcpReq }) => {
    const answer = acceptedContent(mcpReq.inputResponses, 'user_name', z.object({ name: z.string() }));
    if (answer) return said(text(`Hello, ${answer.name}!`));
    return inputRequired({ inputRequests: { user_name: name('What is your name?') } });
  });
  tool('test_input_required_result_sampling', 'Asks the model for a capital', (_, { mcpReq }) => {
    const answer = sampled(mcpReq.inputResponses, 'capital_question');
    if (answer) return said(text(answer));
    return inputRequired({ inputRequests: { capital_question: sample('What is the capital of France?', 100) } });
  });
  tool('test_input_required_result_list_roots', 'Asks for the roots', (_, { mcpReq }) => {
    const { roots } = inputResponse(mcpReq.inputResponses, 'client_roots');
    if (roots) return said(text(`roots: ${roots.map(({ uri }) => uri).join(', ')}`));
    return inputRequired({ inputRequests: { client_roots: listRoots() } });
  });
  const confirm = async (_, { mcpReq }) => {
    const confirmed = acceptedContent(mcpReq.inputResponses, 'confirm', z.object({ ok: z.boolean() }));
    if (confirmed && mcpReq.requestState()?.step === 'confirm') return said(text('state-ok'));
    const requestedSchema = object({ ok: { type: 'boolean' } });
    return inputRequired({
      inputRequests: { confirm: elicit({ message: 'Please confirm', requestedSchema }) },
      requestState: await states.mint({ step: 'confirm' }),
    });
  };
  tool('test_input_required_result_request_state', 'Keeps its state at the client', confirm);
  tool('test_input_required_result_tampered_state', 'Keeps its state at the client, sealed', confirm);
  tool('test_input_required_result_multiple_inputs', 'Asks for three things at once', async (_, { mcpReq }) => {
    const answers = mcpReq.inputResponses;
    const user = acceptedContent(answers, 'user_name', z.object({ name: z.string() }));
    const greeting = sampled(answers, 'greeting');
    const { roots } = inputResponse(answers, 'client_roots');
    if (user && greeting && roots) return said(text(`${greeting} ${user.name}, ${roots.length} roots`));
    return inputRequired({
      inputRequests: {
        user_name: name('What is your name?'),
        greeting: sample('Generate a greeting', 50),
        client_roots: listRoots(),
      },
      requestState: await states.mint({ step: 'all' }),
    });
  });
  tool('test_input_required_result_multi_round', 'Asks twice', async (_, { mcpReq }) => {
    const state = mcpReq.requestState();
    const first = acceptedContent(mcpReq.inputResponses, 'step1', z.object({ name: z.string() }));
    const second = acceptedContent(mcpReq.inputResponses, 'step2', z.object({ color: z.string() }));
    if (state?.step === 2 && second) return said(text(`${state.name} likes ${second.color}`));
    if (state?.step === 1 && first) {
      const message = 'Step 2: What is your favorite color?';
      return inputRequired({
        inputRequests: { step2: elicit({ message, requestedSchema: object({ color: string }) }) },
        requestState: await states.mint({ step: 2, name: first.name }),
      });
    }
    return inputRequired({
      inputRequests: { step1: name('Step 1: What is your name?') },
      requestState: await states.mint({ step: 1 }),
    });
  });
  tool('test_input_required_result_capabilities', 'Asks only for what the client can do', (_, { mcpReq }) => {
    const can = capabilities(mcpReq);
    return inputRequired({
      inputRequests: {
        ...(can.elicitation && { user_name: name('What is your name?') }),
        ...(can.sampling && { greeting: sample('Generate a greeting', 50) }),
        ...(can.roots && { client_roots: listRoots() }),
      },
      requestState: 'none',
    });
  });
  tool('test_missing_capability', 'Needs a client with a model', (_, { mcpReq }) => {
    const answer = sampled(mcpReq.inputResponses, 'greeting');
    if (answer) return said(text(answer));
    // The SDK refuses by itself to ask for what the client did not declare.
    return inputRequired({ inputRequests: { greeting: sample('Generate a greeting', 50) } });
  });
  tool('test_streaming_elicitation', 'Asks for a name on a stream', async (_, { mcpReq }) => {
    await mcpReq.notify({ method: 'notifications/progress', params: { progressToken: 0, progress: 1, total: 2 } });
    return inputRequired({ inputRequests: { user_name: name('What is your name?') } });
  });
  server.registerPrompt('test_input_required_result_prompt', { description: 'Asks first' }, ({ mcpReq }) => {
    const answer = acceptedContent(mcpReq.inputResponses, 'user_context', z.object({ context: z.string() }));
    if (answer) return { messages: [{ role: 'user', content: text(`Context: ${answer.context}`) }] };
    const message = 'What context should the prompt use?';
    const requestedSchema = object({ context: string });
    return inputRequired({ inputRequests: { user_context: elicit({ message, requestedSchema }) } });
  });
}

const capabilities = ({ envelope }) => envelope?.['io.modelcontextprotocol/clientCapabilities'] ?? {};

// --- what can be read ------------------------------------------------------------------------------------------------

function resources(server) {
  const read = (name, uri, mimeType, content) =>
    server.registerResource(name, uri, { description: `A ${name} resource`, mimeType }, () => ({
      contents: [{ uri, mimeType, ...content }],
    }));
  read('static text', 'test://static-text', 'text/plain', { text: 'This is the content of the static text resource.' });
  read('static binary', 'test://static-binary', 'image/png', { blob: PIXEL });
  read('watched', 'test://watched-resource', 'text/plain', { text: 'Nothing happens here.' });
  const description = 'A resource for each id';
  server.registerResource(
    'template',
    new ResourceTemplate('test://template/{id}/data', { list: undefined }),
    { description, mimeType: 'application/json' },
    ({ href }, { id }) => {
      const told = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
      return { contents: [{ uri: href, mimeType: 'application/json', text: told }] };
    },
  );
  server.server.setRequestHandler('resources/subscribe', () => ({}));
  server.server.setRequestHandler('resources/unsubscribe', () => ({}));
}

function prompts(server) {
  const user = (content) => ({ role: 'user', content });
  const prompt = (name, description, run, argsSchema) => server.registerPrompt(name, { description, argsSchema }, run);
  prompt('test_simple_prompt', 'One sentence', () => ({
    messages: [user(text('This is a simple prompt for testing.'))],
  }));
  prompt(
    'test_prompt_with_arguments',
    'One sentence with two arguments',
    ({ arg1, arg2 }) => ({ messages: [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))] }),
    z.object({ arg1: z.string(), arg2: z.string() }),
  );
  prompt(
    'test_prompt_with_embedded_resource',
    'A resource and a sentence',
    ({ resourceUri }) => ({
      messages: [
        user({
          type: 'resource',
          resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
        }),
        user(text('Please process the embedded resource above.')),
      ],
    }),
    z.object({ resourceUri: z.string() }),
  );
  prompt('test_prompt_with_image', 'A pixel and a sentence', () => ({
    messages: [
      user({ type: 'image', data: PIXEL, mimeType: 'image/png' }),
      user(text('Please analyze the image above.')),
    ],
  }));
  server.server.setRequestHandler('completion/complete', () => ({
    completion: { values: ['paris', 'park', 'party'], total: 3, hasMore: false },
  }));
}

// --- how it is served ------------------------------------------------------------------------------------------------

function serverFor(era, changed) {
  const server = new McpServer(
    { name: 'conformance-backend', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        completions: {},
        logging: {},
      },
      requestState: { verify: states.verify },
      cacheHints: { 'tools/list': { ttlMs: 1000, cacheScope: 'public' } },
    },
  );
  simpleTools(server);
  if (era === 'legacy') asking(server);
  else multiRound(server);
  server.registerTool('test_trigger_tool_change', { description: 'Says that the tools have changed' }, () => {
    changed?.toolsChanged();
    return said(text('changed'));
  });
  server.registerTool('test_trigger_prompt_change', { description: 'Says that the prompts have changed' }, () => {
    changed?.promptsChanged();
    return said(text('changed'));
  });
  resources(server);
  prompts(server);
  return server;
}

// Events of the streams of one session, so that a stream can be taken up where it broke off.
function eventStore() {
  const events = [];
  return {
    async storeEvent(stream, message) {
      events.push({ stream, message });
      return `${stream}_${events.length}`;
    },
    async getStreamIdForEventId(id) {
      return events[Number(id.split('_').pop()) - 1]?.stream;
    },
    async replayEventsAfter(id, { send }) {
      const position = Number(id.split('_').pop());
      const { stream } = events[position - 1];
      for (const [index, event] of events.entries()) {
        if (index >= position && event.stream === stream && event.message.jsonrpc) {
          await send(`${stream}_${index + 1}`, event.message);
        }
      }
      return stream;
    },
  };
}

async function withSession(sessions, request, response, body) {
  const known = sessions.get(request.headers['mcp-session-id']);
  if (known) return known.handleRequest(request, response, body);
  if (request.headers['mcp-session-id']) {
    response.writeHead(404, { 'content-type': 'application/json' });
    return response.end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}');
  }
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: eventStore(),
    retryInterval: 50,
    onsessioninitialized: (id) => sessions.set(id, transport),
    onsessionclosed: (id) => sessions.delete(id),
  });
  await serverFor('legacy').connect(transport);
  return transport.handleRequest(request, response, body);
}

export async function start() {
  const sessions = new Map();
  const modern = createMcpHandler(() => serverFor('modern', modern.notify), { legacy: 'reject' });
  const modernNode = toNodeHandler(modern);
  const guards = [localhostHostValidation(), localhostOriginValidation()];
  const http = createServer(async (request, response) => {
    if (!guards.every((guard) => guard(request, response))) return;
    if (request.url !== '/mcp') return response.writeHead(404).end();
    const whole = await toWebRequest(request);
    const legacy = await isLegacyRequest(whole);
    let body;
    try {
      body = request.method === 'POST' ? await whole.json() : undefined;
    } catch {
      return response.writeHead(400).end();
    }
    await (legacy ? withSession(sessions, request, response, body) : modernNode(request, response, body));
  });
  await new Promise((done) => http.listen(0, '127.0.0.1', done));
  const close = () => (http.closeAllConnections(), http.close());
  return { url: `http://127.0.0.1:${http.address().port}/mcp`, close };
}
