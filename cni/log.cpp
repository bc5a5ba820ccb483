// SPDX-License-Identifier: Apache-2.0
#include "cni/log.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <ctime>

#include "base/fd.h"

namespace heddle::cni {
namespace {

constexpr std::array<std::string_view, 6> names{"trace", "debug", "info", "warn", "error", "off"};
constexpr std::array<std::string_view, 5> padded{"TRACE", "DEBUG", "INFO ", "WARN ", "ERROR"};

LogLevel threshold = LogLevel::info;
bool as_json = false;

std::string timestamp() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                now.tv_nsec / 1'000'000);
  return text.data();
}

std::string line_of(LogLevel level, std::string_view text, bool json) {
  const auto index = static_cast<std::size_t>(level);
  if (!json) return timestamp() + " " + std::string(padded[index]) + " cni: " + std::string(text) + "\n";
  boost::json::object line;
  line["time"] = timestamp();
  line["level"] = names[index];
  line["component"] = "cni";
  line["message"] = text;
  return boost::json::serialize(line) + "\n";
}

// One write(2), so that lines of plugins running side by side never mix.
void write_line(int fd, const std::string& line) {
  [[maybe_unused]] const ssize_t wrote = ::write(fd, line.data(), line.size());
}

}  // namespace

Result<LogLevel> parse_log_level(std::string_view text) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return static_cast<LogLevel>(i);
  }
  return make_error(Errc::invalid_argument, "log level '" + std::string(text) +
                                                "' is not one of trace, debug, info, warn, error, off");
}

void set_log(LogLevel level, bool json) {
  threshold = level;
  as_json = json;
}

void log(LogLevel level, std::string_view text) {
  if (level >= threshold && level != LogLevel::off) write_line(STDERR_FILENO, line_of(level, text, as_json));
}

void append_log(const std::string& path, LogLevel level, std::string_view text) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd) write_line(fd.get(), line_of(level, text, false));
}

}  // namespace heddle::cni
