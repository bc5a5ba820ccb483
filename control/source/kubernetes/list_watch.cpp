// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/list_watch.h"

#include <algorithm>

namespace heddle::source::kubernetes {
namespace {

// Longer than this no server may send us away: it would be mistaken for an outage.
constexpr std::chrono::seconds longest_retry_after{120};

// Continue tokens are opaque; whatever is not unreserved (RFC 3986) is escaped.
std::string escaped(const std::string& text) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += hex[byte >> 4];
    out += hex[byte & 15];
  }
  return out;
}

}  // namespace

ListWatch::Step ListWatch::next() {
  Step step;
  step.wait = wait_;
  wait_ = std::chrono::milliseconds(0);
  step.watch = watching_;
  const std::string asked = path_ + (path_.find('?') == std::string::npos ? "?" : "&");
  if (watching_) {
    fruitful_ = false;
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(1, policy_.watch_for.count()));
    const auto seconds = span + random_ % (span + 1);
    step.target = asked + "watch=1&allowWatchBookmarks=true&resourceVersion=" + escaped(resource_version_) +
                  "&timeoutSeconds=" + std::to_string(seconds);
    return step;
  }
  step.first_page = continue_.empty();
  step.target = asked + "limit=" + std::to_string(policy_.page);
  if (!continue_.empty()) step.target += "&continue=" + escaped(continue_);
  return step;
}

bool ListWatch::on_page(const std::string& resource_version, const std::string& continue_token) {
  outage_.reset();
  if (!continue_token.empty()) {
    continue_ = continue_token;
    return false;
  }
  continue_.clear();
  if (resource_version.empty()) {
    // Nothing to watch from: not an API server's answer.
    back_off();
    return false;
  }
  resource_version_ = resource_version;
  watching_ = true;
  // Later lists do not shorten the waits, or a server whose every watch fails would be listed without end.
  if (!synced_) backoff_.reset();
  synced_ = true;
  return true;
}

void ListWatch::on_status(int status, std::optional<std::chrono::seconds> retry_after) {
  // What the server refuses as too old (410), or as wrong (a version from before its data were restored), it
  // will refuse again.
  const bool wrong = status >= 400 && status < 500 && status != 401 && status != 403 && status != 429;
  if (watching_ && wrong) watching_ = false;
  if (wrong) continue_.clear();
  back_off(std::min(retry_after.value_or(std::chrono::seconds(0)), longest_retry_after));
}

void ListWatch::on_lost() {
  if (fruitful_) backoff_.reset();
  fruitful_ = false;
  wait_ = outage_.next();
}

void ListWatch::on_page_too_large() {
  policy_.page = std::max(1, policy_.page / 2);
  back_off();
}

void ListWatch::on_nonsense() {
  list_again();
}

void ListWatch::on_event(const std::string& resource_version) {
  if (!resource_version.empty()) resource_version_ = resource_version;
  fruitful_ = true;
  outage_.reset();
}

void ListWatch::on_error_event() {
  list_again();
}

void ListWatch::on_watch_end() {
  // Also after success: a server that ends every watch at once must not be asked without a pause.
  back_off();
}

void ListWatch::list_again() {
  watching_ = false;
  continue_.clear();
  back_off();
}

void ListWatch::back_off(std::chrono::milliseconds at_least) {
  if (fruitful_) backoff_.reset();
  fruitful_ = false;
  outage_.reset();  // there was an answer
  wait_ = std::max(at_least, backoff_.next());
}

}  // namespace heddle::source::kubernetes
