// SPDX-License-Identifier: Apache-2.0
// The scripts as their shells run them.
#include "tools/commands/completion.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/io/file.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Completion : public testing::Test {
 protected:
  Completion() {
    app_.add_option("-o,--output", word_);
    auto* lab = app_.add_subcommand("lab");
    auto* up = lab->add_subcommand("up");
    up->add_option("--name", word_);
    lab->add_subcommand("down");
    app_.add_subcommand("secret")->group("");
    app_.add_subcommand("stat")->add_flag("--wide");
  }
  ~Completion() override { ::unlink(file_.c_str()); }

  // What the shell says after reading the script and then running `commands`.
  std::string said_by(const std::string& shell, const std::string& before, const std::string& commands) {
    const auto script = completion_script(shell, completion_entries(app_)).value();
    EXPECT_TRUE(write_file_atomically(file_, script, 0644));
    SpawnSpec spec;
    spec.argv = {shell, "-c", before + "source " + file_ + "; " + commands};
    const auto done = run(spec);
    EXPECT_TRUE(done) << done.error().message();
    if (!done) return {};
    EXPECT_EQ(done->err, "") << shell;
    return done->out;
  }
  static bool installed(const std::string& shell) {
    return ::access(("/usr/bin/" + shell).c_str(), X_OK) == 0;
  }

  CLI::App app_{"", "heddle"};
  std::string word_;
  const std::string file_ = testing::TempDir() + "completion-" + std::to_string(::getpid());
};

TEST_F(Completion, OffersSubcommandsAndFlagsInBash) {
  const auto words = [&](const std::string& line, int at) {
    return said_by("bash", "",
                   "COMP_WORDS=(" + line + "); COMP_CWORD=" + std::to_string(at) +
                       "; _heddle; echo \"${COMPREPLY[@]}\"");
  };
  EXPECT_THAT(words("heddle ''", 1), AllOf(HasSubstr("lab stat"), Not(HasSubstr("secret"))));
  EXPECT_EQ(words("heddle lab ''", 2).substr(0, 8), "up down ");
  EXPECT_THAT(words("heddle lab up --", 3), AllOf(HasSubstr("--name"), HasSubstr("--output")));
  EXPECT_EQ(words("heddle -o json st", 3), "stat\n") << "a flag and its value are no commands";
}

TEST_F(Completion, OffersTheSameInZsh) {
  if (!installed("zsh")) GTEST_SKIP() << "zsh is not installed";
  const auto said =
      said_by("zsh", "autoload -U +X compinit && compinit -u -D; ",
              "f() { emulate -L sh; setopt kshglob noshglob braceexpand; COMP_WORDS=(heddle lab up --); "
              "COMP_CWORD=3; COMPREPLY=(); _heddle; print -r -- \"${COMPREPLY[@]}\"; }; f");
  EXPECT_THAT(said, AllOf(HasSubstr("--name"), HasSubstr("--output")));
}

TEST_F(Completion, OffersTheSameInFish) {
  if (!installed("fish")) GTEST_SKIP() << "fish is not installed";
  EXPECT_EQ(said_by("fish", "", "complete -C 'heddle lab '"), "down\nup\n");
  EXPECT_THAT(said_by("fish", "", "complete -C 'heddle lab up --'"),
              AllOf(HasSubstr("--name"), HasSubstr("--output")));
}

TEST_F(Completion, NamesTheShellsItKnows) {
  const auto script = completion_script("tcsh", completion_entries(app_));
  ASSERT_FALSE(script);
  EXPECT_THAT(script.error().detail, HasSubstr("use bash, zsh or fish"));
}

}  // namespace
}  // namespace heddle::tools
