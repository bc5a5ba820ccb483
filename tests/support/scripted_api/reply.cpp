// SPDX-License-Identifier: Apache-2.0
#include "tests/support/scripted_api/reply.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>

namespace heddle::test {
namespace {

constexpr const char* json = "application/json";

std::map<std::string, std::string> fields_of(const std::string& headers) {
  std::map<std::string, std::string> out{{"content-type", json}};
  std::size_t at = 0;
  for (auto end = headers.find("\r\n"); end != std::string::npos; end = headers.find("\r\n", at)) {
    const std::string line = headers.substr(at, end - at);
    const auto colon = line.find(": ");
    std::string name = line.substr(0, colon);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    out[name] = line.substr(colon + 2);
    at = end + 2;
  }
  return out;
}

}  // namespace

bool H1Reply::send(const std::string& bytes) {
  return bytes.empty() || SSL_write(tls_, bytes.data(), static_cast<int>(bytes.size())) > 0;
}

bool H1Reply::whole(const std::string& status, const std::string& headers, const std::string& body) {
  return send("HTTP/1.1 " + status + "\r\nContent-Type: " + json + "\r\n" + headers +
              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
}

bool H1Reply::begin() {
  return send(std::string("HTTP/1.1 200 OK\r\nContent-Type: ") + json +
              "\r\nTransfer-Encoding: chunked\r\n\r\n");
}

bool H1Reply::piece(const std::string& bytes) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return send(size + bytes + "\r\n");
}

bool H1Reply::end() {
  return send("0\r\n\r\n");
}

bool H2Reply::whole(const std::string& status, const std::string& headers, const std::string& body) {
  const int code = static_cast<int>(std::strtol(status.c_str(), nullptr, 10));
  return stream_.begin(code, fields_of(headers)) && stream_.send(body) && stream_.end();
}

bool H2Reply::begin() {
  return stream_.begin(200, fields_of(""));
}

bool H2Reply::break_off(std::uint32_t code) {
  stream_.reset(code);
  return true;
}

}  // namespace heddle::test
