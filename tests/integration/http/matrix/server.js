// SPDX-License-Identifier: Apache-2.0
// A server on Node's own HTTP libraries: node server.js HTTP-VERSION PORT
'use strict';
const http = require('http');
const http2 = require('http2');

const [version, port] = process.argv.slice(2).map(Number);
const over2 = version === 2;

function gather(request, then) {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => then(Buffer.concat(parts)));
}

const routes = {
  echo(request, response) {
    response.writeHead(200, {'Content-Type': 'application/octet-stream', 'X-Method': request.method, 'X-Url': request.url});
    request.pipe(response);
  },
  // What of the request a program sees, but for what the documentation says is changed.
  tell(request, response) {
    gather(request, (content) => {
      const told = {};
      for (const name of Object.keys(request.headers).sort())
        if (!/^(l5d-|connection$|te$|transfer-encoding$)/.test(name)) told[name] = request.headers[name];
      const text = JSON.stringify([request.method, request.url, request.httpVersion, told, content.length, request.trailers]);
      response.writeHead(200, {'Content-Length': Buffer.byteLength(text)});
      response.end(text);
    });
  },
  trailers(request, response) {
    gather(request, () => {
      if (request.method !== 'HEAD') {
        response.writeHead(200, {'Content-Type': 'text/plain', Trailer: 'x-end, x-more'});
        response.write('content');
        response.addTrailers({'x-end': 'yes', 'x-more': 'a, b'});
      }
      response.end();
    });
  },
  hints(request, response) {
    response.writeEarlyHints({link: '</a.css>; rel=preload'});
    response.writeHead(200, {'Content-Length': 5});
    response.end('hello');
  },
  status(request, response, code) {
    response.writeHead(Number(code));
    response.end(code === '204' || code === '304' ? undefined : 'answer ' + code);
  },
  parts(request, response) {
    response.writeHead(200, {'Set-Cookie': ['a=1', 'b=2; Path=/'], 'Content-Type': 'text/plain'});
    let number = 0;
    const next = () => {
      while (++number <= 200)
        if (!response.write(String(number).repeat(number))) return response.once('drain', next);
      return response.end();
    };
    next();
  },
};

function answer(request, response) {
  const [, route, argument] = request.url.split(/[/?]/);
  const serve = Object.hasOwn(routes, route) ? routes[route] : () => routes.status(request, response, '404');
  serve(request, response, argument);
}

const server = over2 ? http2.createServer() : http.createServer();
server.on('request', answer);
server.on('checkContinue', (request, response) => {
  if (request.url.startsWith('/refused')) return routes.status(request, response, '417');
  response.writeContinue();
  return answer(request, response);
});
server.listen(port, '127.0.0.1');
