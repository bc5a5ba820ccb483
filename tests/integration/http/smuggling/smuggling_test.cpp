// SPDX-License-Identifier: Apache-2.0
// Requests and answers that two readers could read in two ways: each is refused, or arrives as exactly one
// that all readers agree on. The cases are in the .txt files beside this.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/fd.h"
#include "tests/integration/http/smuggling/cases.h"
#include "tests/integration/http/smuggling/readers.h"
#include "tests/integration/http/smuggling/recording_app.h"
#include "tests/integration/http/smuggling/wire.h"

namespace heddle::proxy::smuggling {
namespace {

constexpr std::string_view last_request = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

std::vector<Case> corpus(const std::string& file, std::size_t columns) {
  return read_cases(std::string(HEDDLE_CORPUS) + "/" + file, columns);
}

// The ways of an HTTP/1 request.
enum class Way : std::uint8_t { unmeshed, joined, mesh };
const char* to_string(Way way) {
  return way == Way::unmeshed ? "unmeshed" : way == Way::joined ? "joined" : "mesh";
}

class Chain {
 public:
  explicit Chain(Way way) : app(lab) {
    if (way == Way::joined) lab.join_locally();
    const DestinationRef to = way == Way::unmeshed ? lab.plain(app.address())
                              : way == Way::joined ? lab.meshed({app.address()})
                                                   : lab.meshed({lab.listen_mesh(app.address())});
    front = lab.listen_outbound(to, Protocol::http1);
  }
  ProxyLab lab;
  RecordingApp app;
  SocketAddress front;
};

// What arrived is the same for all readers, and has nothing of the canary.
void expect_unambiguous(const RecordingApp::Record& record) {
  for (const std::string& error : record.errors) ADD_FAILURE() << "the app could not read it: " << error;
  for (const std::string& raw : record.raw) {
    const Reading strict = read_requests(raw, dialects().front());
    for (const Dialect& dialect : dialects()) {
      const Reading read = read_requests(raw, dialect);
      EXPECT_TRUE(read.error.empty()) << dialect.name << ": " << read.error;
      EXPECT_EQ(read.messages, strict.messages) << "as read by \"" << dialect.name << "\":\n" << raw;
    }
  }
}

void expect_words(const Case& each, const std::string& text) {
  for (const std::string& word : each.words("has:"))
    EXPECT_TRUE(contains_ignoring_case(text, word)) << word << " in\n" << text;
  for (const std::string& word : each.words("lacks:"))
    EXPECT_FALSE(contains_ignoring_case(text, word)) << word << " in\n" << text;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += text;
  return all;
}

std::string show(const std::vector<Message>& messages) {
  std::string all;
  for (const Message& message : messages) all += to_string(message) + "\n";
  return all;
}

void run_http1_case(Chain& chain, const Case& each) {
  const std::string bytes = expand(each.columns[0]);
  chain.app.begin();
  const std::string heard = converse(chain.front, bytes + std::string(last_request));
  const RecordingApp::Record record = chain.app.record();
  const Answers read = read_answers(heard, bytes.starts_with("HEAD "), true);
  const auto& answers = read.answers;
  EXPECT_EQ(read.error, "") << heard;
  expect_unambiguous(record);
  const bool forward = each.verdict.front().starts_with("forward");
  const auto number = each.word("forward:");
  const std::size_t before = static_cast<std::size_t>(std::stoi(each.word("after:").value_or("0")));
  if (!forward) {
    EXPECT_EQ(record.messages.size(), before) << show(record.messages);
    ASSERT_EQ(answers.size(), before + 1) << heard;
    EXPECT_EQ(std::to_string(answers.back().status), each.verdict.front()) << heard;
    return;
  }
  const bool ends = !each.words("ends").empty();
  const std::size_t count = static_cast<std::size_t>(std::stoi(number.value_or("1"))) + (ends ? 0 : 1);
  ASSERT_EQ(record.messages.size(), count) << show(record.messages) << heard;
  ASSERT_EQ(answers.size(), count) << heard;
  const int status = std::stoi(each.word("answered:").value_or("200"));
  for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(answers[i].status, status) << heard;
  if (!ends) {
    EXPECT_EQ(answers.back().body, "/last") << heard;
  }
  expect_words(each, joined(record.raw));
}

void run_http1_corpus(Way way) {
  Chain chain(way);
  const auto cases = corpus("requests_h1.txt", 4);
  ASSERT_GE(cases.size(), 390u);
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name + " (" + each.rule + "), " + to_string(way));
    run_http1_case(chain, each);
  }
}

TEST(Smuggling, NoHttp1RequestIsReadInTwoWaysByAnUnmeshedServer) {
  run_http1_corpus(Way::unmeshed);
}

TEST(Smuggling, NoHttp1RequestIsReadInTwoWaysByAPodOfTheSameNode) {
  run_http1_corpus(Way::joined);
}

TEST(Smuggling, NoHttp1RequestIsReadInTwoWaysBehindTheMesh) {
  run_http1_corpus(Way::mesh);
}

void run_http2_case(const SocketAddress& front, RecordingApp& app, const Case& each) {
  app.begin();
  const H2Heard heard = converse_http2(front, each.columns[0]);
  const RecordingApp::Record record = app.record();
  expect_unambiguous(record);
  const bool forward = each.verdict.front() == "forward";
  const auto of_case = std::count_if(record.messages.begin(), record.messages.end(),
                                     [](const Message& message) { return message.target != "/last"; });
  if (each.verdict.front() == "cut") {
    EXPECT_LE(of_case, 1) << show(record.messages);
  } else {
    EXPECT_EQ(of_case, forward ? 1 : 0) << show(record.messages);
  }
  if (forward) {
    EXPECT_EQ(heard.status, 200);
    expect_words(each, joined(record.raw));
  } else {
    EXPECT_TRUE(heard.reset || heard.goaway || heard.status >= 400) << "status " << heard.status;
  }
  // Only a connection that breaks the protocol as a whole takes others with it.
  if (!heard.goaway) {
    EXPECT_EQ(heard.last, "/last");
  }
}

TEST(Smuggling, NoHttp2RequestBecomesMoreThanOneOfHttp1) {
  ProxyLab lab;
  RecordingApp app(lab);
  const SocketAddress front = lab.listen_mesh(app.address());
  const auto cases = corpus("requests_h2.txt", 4);
  ASSERT_GE(cases.size(), 140u);
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name + " (" + each.rule + ")");
    run_http2_case(front, app, each);
  }
}

void run_answer_case(Chain& chain, const Case& each) {
  std::string answer = each.columns[1];
  const bool close = answer.ends_with("=CLOSE");
  if (close) answer.resize(answer.size() - 6);
  const std::string& method = each.columns[0];
  chain.app.begin(expand(answer), close);
  const std::string heard = converse(chain.front, method + " /scripted HTTP/1.1\r\nHost: a\r\n" +
                                                      (method == "POST" ? "Content-Length: 0\r\n" : "") +
                                                      "\r\n" + std::string(last_request));
  const Answers read = read_answers(heard, method == "HEAD", true);
  const auto& answers = read.answers;
  const std::string& verdict = each.verdict.front();
  if (verdict == "cut") {
    // By the way there, and by whether a byte of it had left the proxy.
    const bool said_so = !answers.empty() && answers[0].status == 502;
    EXPECT_TRUE(said_so || heard.empty() || (answers.empty() && !read.error.empty())) << "it looks whole:\n"
                                                                                      << heard;
    return;
  }
  EXPECT_EQ(read.error, "") << heard;
  ASSERT_FALSE(answers.empty()) << heard;
  EXPECT_EQ(std::to_string(answers[0].status), verdict.starts_with("pass:") ? verdict.substr(5) : verdict)
      << heard;
  if (const auto body = each.word("body:")) {
    EXPECT_EQ(answers[0].body, *body) << heard;
  }
  expect_words(each, answers[0].head);
  ASSERT_LE(answers.size(), 2u) << heard;
  if (answers.size() == 2) {
    EXPECT_TRUE(answers[1].body == "/last" || answers[1].status == 502) << heard;
  }
}

TEST(Smuggling, NoAnswerIsTakenForAnotherRequests) {
  const auto cases = corpus("responses.txt", 5);
  ASSERT_GE(cases.size(), 100u);
  for (const Way way : {Way::unmeshed, Way::joined, Way::mesh}) {
    Chain chain(way);
    for (const Case& each : cases) {
      SCOPED_TRACE(each.name + " (" + each.rule + "), " + to_string(way));
      run_answer_case(chain, each);
    }
  }
}

}  // namespace
}  // namespace heddle::proxy::smuggling
