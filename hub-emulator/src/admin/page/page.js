'use strict';

const EVERY = 1000;
const LIMIT = 10000;
const TOP = 100;
const MINUTE = 60;

const $ = (id) => document.getElementById(id);

// What the last answers were, for the rates between two of them.
const traffic = { time: 0, counters: {}, history: new Map() };
let failures = 0;

// Elements are made of text alone: nothing that a device says is ever read as HTML.
function element(name, content, attributes) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) made.setAttribute(key, value);
  for (const part of [content ?? []].flat()) made.append(part);
  return made;
}

function row(...cells) {
  return element('tr', cells.map((cell) => (cell instanceof Element && cell.tagName === 'TD' ? cell : element('td', cell))));
}

function cell(content, style) {
  return element('td', content, style ? { class: style } : {});
}

function fill(body, rows, columns, empty) {
  if (rows.length === 0) rows = [element('tr', element('td', empty, { class: 'empty', colspan: columns }))];
  // What is being read or pointed at stays where it is as long as it looks the same.
  rows.forEach((made, index) => {
    const old = body.children[index];
    if (!old) body.append(made);
    else if (!old.isEqualNode(made)) old.replaceWith(made);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
}

function show(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function ago(time, now) {
  if (!time) return 'never';
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString();
}

function lasting(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function words(name) {
  return name.replace(/[A-Z]/g, (letter) => ' ' + letter.toLowerCase());
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(LIMIT), cache: 'no-store' });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.errors.map((error) => error.message).join('; ')), { told: true });
  return { body, now: Date.parse(answer.headers.get('date')) || Date.now() };
}

// The selected device is in the address, so that a reload and the back button keep it.
function selected() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const device = parameters.get('device');
  return device === null ? null : { device, module: parameters.get('module') };
}

function select(device, module) {
  const parameters = new URLSearchParams({ device });
  if (module) parameters.set('module', module);
  location.hash = parameters;
}

function showOverview({ body }) {
  show($('hub'), `${body.hostName} · https ${body.httpsPort} · mqtt ${body.mqttPort}`);
  $('paused').hidden = !body.paused;
}

function showDevices({ body, now }) {
  show($('tile-connected'), String(body.connected));
  show($('tile-registered'), String(body.registered));
  const rows = body.devices.map((device) => {
    const id = device.moduleId ? `${device.deviceId} / ${device.moduleId}` : device.deviceId;
    const button = element('button', id, { class: 'link', type: 'button' });
    button.dataset.device = device.deviceId;
    if (device.moduleId) button.dataset.module = device.moduleId;
    const [state, style] = device.status === 'disabled' ? ['disabled', 'bad']
      : device.callable ? ['connected', 'good']
      : device.connected ? ['connected, takes no methods', 'good'] : ['not connected', 'faint'];
    return row(button, cell(state, style), cell(ago(device.lastActivityTime, now), 'time'), cell(String(device.cloudToDeviceMessageCount), 'wide number'));
  });
  const filtered = $('contains').value !== '' || $('only-connected').checked;
  fill($('devices'), rows, 4, filtered ? 'No device fits.' : 'No device is registered yet. Start with --devices 2, or register one over REST.');
  const more = body.matching - body.devices.length;
  $('devices-note').hidden = more <= 0;
  show($('devices-note'), `${more} more; narrow them down above.`);
}

function withoutMetadata(section) {
  const { $metadata, $version, ...properties } = section ?? {};
  return JSON.stringify(properties, null, 2);
}

function showTwin(id, twin, problem) {
  $('twin-section').hidden = !id;
  if (!id) return;
  show($('twin-title'), `Twin of ${id.module ? `${id.device} / ${id.module}` : id.device}`);
  $('twin-parts').hidden = !twin;
  show($('twin-note'), twin ? `${twin.status}, ${twin.connectionState.toLowerCase()}, version ${twin.version}` : problem);
  if (!twin) return;
  show($('reported'), withoutMetadata(twin.properties.reported));
  show($('desired'), withoutMetadata(twin.properties.desired));
  show($('reported-version'), `version ${twin.properties.reported.$version}`);
  show($('desired-version'), `version ${twin.properties.desired.$version}`);
  show($('tags'), JSON.stringify(twin.tags, null, 2));
  show($('whole'), JSON.stringify(twin, null, 2));
}

function showMethods({ body, now }) {
  show($('tile-flying'), String(body.inFlight.length));
  const outcomes = {
    waiting: () => ['waiting', 'busy'],
    answered: (status) => [`answered ${status}`, status >= 200 && status < 300 ? 'good' : 'bad'],
    deviceGone: () => ['device went away', 'bad'],
    givenUp: () => ['no answer in time', 'bad'],
  };
  const ended = body.recent.filter((method) => method.outcome !== 'waiting');
  const rows = [...body.inFlight, ...ended].slice(0, TOP).map((method) => {
    const [outcome, style] = outcomes[method.outcome](method.status);
    const device = method.moduleId ? `${method.deviceId} / ${method.moduleId}` : method.deviceId;
    const end = method.endTime ? Date.parse(method.endTime) : now;
    const again = method.deliveries > 1 ? ` (sent ${method.deliveries} times)` : '';
    return row(method.name + again, device, cell(outcome, style), cell(ago(method.startTime, now), 'time'),
      cell(lasting(Math.max(0, end - Date.parse(method.startTime))), 'number'),
      cell(element('code', JSON.stringify(method.payload)), 'wide'));
  });
  fill($('methods'), rows, 6, 'No method was called yet.');
}

function showFaults({ body }) {
  $('faults-section').hidden = body.length === 0;
  const rows = body.map(({ id, fault, fired, times, ...details }) => {
    const text = Object.entries(details).map(([key, value]) => `${words(key)} ${value}`).join(', ');
    const count = times === undefined ? `${fired} times` : `${fired} of ${times}`;
    return row(words(fault), text, cell(count, 'number'));
  });
  fill($('faults'), rows, 3, '');
}

function sparkline(values) {
  const most = Math.max(1, ...values);
  const points = values.map((value, index) => `${index},${(20 - (18 * value) / most).toFixed(1)}`);
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', `0 0 ${MINUTE - 1} 21`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', `M${points.join(' ')}`);
  svg.append(path);
  return svg;
}

function showTraffic({ body }) {
  const time = performance.now();
  const elapsed = (time - traffic.time) / 1000;
  const rates = {};
  const rows = [];
  let used = false;
  for (const [name, count] of Object.entries(body)) {
    const before = traffic.counters[name]?.total;
    // After a reset a counter is smaller than before.
    const grown = before === undefined ? 0 : Math.max(0, count.total - before);
    rates[name] = traffic.time === 0 ? 0 : grown / elapsed;
    const history = traffic.history.get(name) ?? new Array(MINUTE).fill(0);
    history.push(rates[name]);
    history.shift();
    traffic.history.set(name, history);
    if (count.total === 0) continue;
    used = true;
    rows.push(row(words(name), cell(count.total.toLocaleString('en'), 'number'), cell(rates[name].toFixed(rates[name] < 10 ? 1 : 0), 'number'),
      cell(String(count.busiestSecond), 'number'), cell(sparkline(history), 'wide')));
  }
  fill($('traffic'), used ? rows : [], 5, 'Nothing has come in yet.');
  const operations = ['serviceTwinReads', 'deviceTwinReads', 'serviceTwinUpdates', 'deviceTwinUpdates', 'methodCalls', 'queries', 'jobOperations', 'configurationOperations', 'registryOperations', 'registrations'];
  show($('tile-rate'), operations.reduce((sum, name) => sum + (rates[name] ?? 0), 0).toFixed(0));
  show($('tile-telemetry'), (rates.telemetry ?? 0).toFixed(0));
  traffic.time = time;
  traffic.counters = body;
}

async function twinOf(id) {
  if (!id) return showTwin(null);
  const module = id.module ? `?module=${encodeURIComponent(id.module)}` : '';
  try {
    const { body } = await ask(`api/devices/${encodeURIComponent(id.device)}/twin${module}`);
    showTwin(id, body);
  } catch (error) {
    if (!error.told) throw error;
    showTwin(id, null, error.message);
  }
}

async function update() {
  const query = new URLSearchParams({ top: TOP, contains: $('contains').value });
  if ($('only-connected').checked) query.set('connected', 'true');
  const id = selected();
  const [overview, devices, methods, counters, faults] = await Promise.all([
    ask('api'), ask(`api/devices?${query}`), ask(`api/methods?top=${TOP}`), ask('api/counters'), ask('api/faults'), twinOf(id),
  ]);
  showOverview(overview);
  showDevices(devices);
  showMethods(methods);
  showTraffic(counters);
  showFaults(faults);
}

let running = null;
let timer = 0;

// One round at a time; a wish for another one meanwhile begins it right after.
async function round() {
  clearTimeout(timer);
  if (running) return void (running = 'again');
  running = 'once';
  try {
    await update();
    failures = 0;
    $('alert').hidden = true;
    $('health').dataset.state = 'live';
    show($('health'), 'live');
  } catch (error) {
    failures += 1;
    $('health').dataset.state = 'lost';
    show($('health'), 'not reachable');
    $('alert').hidden = false;
    show($('alert'), `The emulator does not answer; what is shown may be old. Trying again… (${error.told ? error.message : 'no connection'})`);
  }
  const again = running === 'again';
  running = null;
  if (!document.hidden) timer = setTimeout(round, again ? 0 : Math.min(EVERY * 2 ** Math.min(failures, 3), LIMIT));
}

$('devices').addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) select(button.dataset.device, button.dataset.module);
});
$('twin-close').addEventListener('click', () => { location.hash = ''; });
$('filter').addEventListener('submit', (event) => event.preventDefault());
$('filter').addEventListener('input', round);
window.addEventListener('hashchange', async () => {
  await round();
  if (selected()) $('twin-section').scrollIntoView({ block: 'nearest' });
});
// A page that nobody sees asks for nothing.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) clearTimeout(timer);
  else round();
});
round();
