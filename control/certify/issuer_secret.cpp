// SPDX-License-Identifier: Apache-2.0
#include "control/certify/issuer_secret.h"

#include <spdlog/spdlog.h>

#include "base/io/file.h"
#include "control/source/reader.h"

namespace heddle::control {
namespace {

using source::kubernetes::Answer;

constexpr std::chrono::seconds patience{5};

// What the API server says of a refusal, for people.
Error refused(const std::string& doing, const Answer& answer) {
  const auto values = source::read_json(answer.body);
  source::Reader in;
  const std::string message =
      values && values->size() == 1 ? in.text(&values->front(), "message") : std::string();
  return make_error(
      answer.status == 403 ? Errc::permission_denied : Errc::unavailable,
      doing + ": status " + std::to_string(answer.status) + (message.empty() ? "" : ": " + message));
}

bool is_due(const Authority& authority, Clock::time_point now) {
  const auto life = authority.not_after() - authority.not_before();
  return now >= authority.not_before() + std::chrono::duration_cast<Clock::duration>(life * 0.7);
}

}  // namespace

IssuerSecret::~IssuerSecret() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  woken_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<Answer> IssuerSecret::ask(const char* method, const std::string& kind, const std::string& name,
                                 const std::string& body) {
  source::kubernetes::Request request;
  request.method = method;
  request.target = "/api/v1/namespaces/" + options_.ns + "/" + kind + (name.empty() ? "" : "/" + name);
  request.body = body;
  if (!body.empty()) request.content_type = "application/json";
  return caller_.call(std::move(request), patience);
}

Result<IssuerSecretContent> IssuerSecret::read_or_make(Clock::time_point now) {
  const std::string what = "Secret " + options_.ns + "/" + options_.secret;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto found = ask("GET", "secrets", options_.secret);
    if (!found) return found.error();
    if (found->status == 200) {
      auto content = read_issuer_secret(found->body);
      if (!content) return make_error(Errc::invalid_argument, what + ": " + content.error().detail);
      return content;
    }
    if (found->status != 404) return refused("GET of " + what, *found);
    auto root = make_root(options_.trust_domain, now);
    if (!root) return root.error();
    auto issuer = make_issuer(*root, "issuer.heddle." + options_.trust_domain, now);
    if (!issuer) return issuer.error();
    const IssuerSecretContent made{issuer->certificate, issuer->key, root->certificate, root->key, {}};
    const auto created = ask("POST", "secrets", {}, issuer_secret_object(options_.ns, options_.secret, made));
    if (!created) return created.error();
    if (created->status == 201) {
      spdlog::info("made a root and an issuer secret={}/{}", options_.ns, options_.secret);
    } else if (created->status != 409) {
      return refused("creating " + what, *created);
    }
    // Read it in any case: another replica may have been first.
  }
  return make_error(Errc::unavailable, what + " goes as soon as it is made");
}

// The ConfigMap's, which people add roots to; made from the Secret's own root where there is none.
Result<std::string> IssuerSecret::anchors_for(const IssuerSecretContent& content) {
  const std::string what = "ConfigMap " + options_.ns + "/" + options_.trust_anchors;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto found = ask("GET", "configmaps", options_.trust_anchors);
    if (!found) return found.error();
    if (found->status == 200) {
      auto anchors = read_trust_anchors(found->body);
      if (!anchors) return make_error(Errc::invalid_argument, what + ": " + anchors.error().detail);
      return anchors;
    }
    if (found->status != 404) return refused("GET of " + what, *found);
    if (content.root.empty()) {
      return make_error(Errc::not_found, "there is no " + what + " and Secret " + options_.ns + "/" +
                                             options_.secret + " has no ca.crt to make it from");
    }
    const auto created = ask("POST", "configmaps", {},
                             trust_anchors_object(options_.ns, options_.trust_anchors, content.root));
    if (!created) return created.error();
    if (created->status != 201 && created->status != 409) return refused("creating " + what, *created);
  }
  return make_error(Errc::unavailable, what + " goes as soon as it is made");
}

// By whichever replica is first: the others' replacement is refused for its resourceVersion.
Result<> IssuerSecret::renew(IssuerSecretContent content, Clock::time_point now) {
  auto issuer = make_issuer({content.root, content.root_key}, "issuer.heddle." + options_.trust_domain, now);
  if (!issuer) return issuer.error();
  content.certificate = issuer->certificate;
  content.key = issuer->key;
  const auto replaced =
      ask("PUT", "secrets", options_.secret, issuer_secret_object(options_.ns, options_.secret, content));
  if (!replaced) return replaced.error();
  if (replaced->status == 409) return {};
  if (replaced->status != 200) return refused("renewing the issuer", *replaced);
  spdlog::info("renewed the issuer secret={}/{}", options_.ns, options_.secret);
  return {};
}

Result<> IssuerSecret::write(const AuthorityFiles& files) {
  const bool same = files.issuer_certificate == written_.issuer_certificate &&
                    files.issuer_key == written_.issuer_key && files.trust_anchors == written_.trust_anchors;
  if (same) return {};
  if (auto made = make_directories(options_.folder, 0700); !made) return made;
  // Whoever reads between two of them finds what does not match, and looks again.
  for (const auto& [path, text] :
       {std::pair(trust_anchors_path(), &files.trust_anchors), std::pair(key_path(), &files.issuer_key),
        std::pair(certificate_path(), &files.issuer_certificate)}) {
    if (auto wrote = write_file_atomically(path, *text, 0600); !wrote) return wrote;
  }
  written_ = files;
  return {};
}

Result<> IssuerSecret::fetch(Clock::time_point now) {
  auto content = read_or_make(now);
  if (!content) return content.error();
  auto anchors = anchors_for(*content);
  if (!anchors) return anchors.error();
  const AuthorityFiles files{content->certificate, content->key, *anchors};
  const auto authority = Authority::load(files, {}, now);
  const bool may_renew = !content->root_key.empty();
  const bool renew_now = may_renew && (!authority || is_due(**authority, now));
  if (authority) {
    if (auto wrote = write(files); !wrote) return wrote;
  } else if (!renew_now) {
    return make_error(Errc::invalid_argument, "Secret " + options_.ns + "/" + options_.secret +
                                                  " with ConfigMap " + options_.trust_anchors + ": " +
                                                  authority.error().detail);
  }
  if (!renew_now) return {};
  if (auto renewed = renew(std::move(*content), now); !renewed) return renewed;
  // Without a good one there is nothing to go on with until the new one was read.
  return authority ? Result<>() : make_error(Errc::unavailable, "the issuer was renewed: reading it again");
}

void IssuerSecret::start() {
  const auto changed = [this] {
    const std::lock_guard lock(mutex_);
    changed_ = true;
    woken_.notify_all();
  };
  const std::string collections = "/api/v1/namespaces/" + options_.ns + "/";
  secret_watch_ = caller_.watch({collections + "secrets", options_.secret}, changed);
  anchors_watch_ = caller_.watch({collections + "configmaps", options_.trust_anchors}, changed);
  thread_ = std::thread([this] { run(); });
}

void IssuerSecret::run() {
  std::unique_lock lock(mutex_);
  while (!ended_) {
    const bool told = secret_watch_->watching() && anchors_watch_->watching();
    woken_.wait_for(lock, told ? options_.interval_while_told : options_.interval,
                    [this] { return ended_ || changed_; });
    if (ended_) return;
    changed_ = false;
    lock.unlock();
    tell(fetch());
    lock.lock();
  }
}

void IssuerSecret::tell(const Result<>& outcome) {
  const std::string complaint = outcome ? std::string() : outcome.error().message();
  if (complaint == complaint_) return;
  complaint_ = complaint;
  if (complaint.empty()) {
    spdlog::info("the issuer's Secret is read again");
  } else {
    spdlog::error("the issuer in use stays as it is: {}", complaint);
  }
}

}  // namespace heddle::control
