#include "gateways/secrets/file_key.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "schemas/base/status.h"
#include "tests/support/temp_dir.h"

namespace sluice::gateways {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kBytes[] = "0123456789abcdef0123456789ABCDEF";  // as many as a key has
constexpr char kBase64[] = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlBQkNERUY=";

class FileKeyTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& content, mode_t mode = 0600) {
    const std::string path = folder_ / "key";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }

  testing::TempDir folder_;
};

TEST_F(FileKeyTest, IsBytesOrBase64) {
  for (const std::string& content :
       {std::string(kBytes), std::string(kBase64), std::string(kBase64) + "\n"}) {
    const auto key = ReadKeyFile(Write(content));
    ASSERT_TRUE(key.ok()) << key.status();
    EXPECT_EQ(key->Reveal(), kBytes);
  }
  EXPECT_TRUE(ReadKeyFile(Write(kBytes, 0400)).ok());
}

TEST_F(FileKeyTest, IsNothingElse) {
  for (const std::string& content :
       {std::string(), std::string(kBytes, 31), std::string(kBytes) + "\n",
        std::string(kBase64) + "\n\n", " " + std::string(kBase64), std::string(kBase64, 43),
        std::string("MDEy"), std::string(300, 'A')}) {
    const auto key = ReadKeyFile(Write(content));
    EXPECT_TRUE(absl::IsInvalidArgument(key.status())) << content;
    if (!content.empty()) {
      EXPECT_THAT(Message(key.status()), Not(HasSubstr(content)));
    }
  }
  EXPECT_TRUE(absl::IsNotFound(ReadKeyFile(folder_ / "none").status()));
}

TEST_F(FileKeyTest, MustBeItsOwnersAlone) {
  for (const mode_t mode : {0640, 0604, 0620, 0601}) {
    EXPECT_THAT(Message(ReadKeyFile(Write(kBytes, mode)).status()), HasSubstr("chmod 600"));
  }
}

TEST_F(FileKeyTest, OfTheEnvironmentIsBase64) {
  ASSERT_EQ(::setenv("SLUICE_TEST_KEY", kBase64, 1), 0);
  EXPECT_EQ(ReadKeyEnvironment("SLUICE_TEST_KEY")->Reveal(), kBytes);
  ASSERT_EQ(::setenv("SLUICE_TEST_KEY", kBytes, 1), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(ReadKeyEnvironment("SLUICE_TEST_KEY").status()));
  ASSERT_EQ(::unsetenv("SLUICE_TEST_KEY"), 0);
  EXPECT_TRUE(absl::IsNotFound(ReadKeyEnvironment("SLUICE_TEST_KEY").status()));
}

}  // namespace
}  // namespace sluice::gateways
