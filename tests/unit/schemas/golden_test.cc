#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "schemas/row_codec.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/sluice/v1/frames.pb.h"
#include "schemas/sluice/v1/sources.pb.h"
#include "schemas/sluice/v1/store.pb.h"
#include "tests/support/schemas/test_schema.h"

// The bytes in tests/golden/schemas are read for ever: an event written by any version must mean
// the same to every later one. A new field adds a file or a line; a file is never changed or
// removed.
namespace sluice::schemas {
namespace {

namespace fs = std::filesystem;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using testing::ValueOrDie;

const fs::path kGolden = SLUICE_GOLDEN;

std::string Read(const fs::path& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  EXPECT_FALSE(content.str().empty()) << path;
  return content.str();
}

std::string ReadHex(const fs::path& path) {
  std::string bytes;
  int high = -1;
  for (const char c : Read(path)) {
    const size_t digit = std::string_view("0123456789abcdef").find(c);
    if (digit == std::string_view::npos) {
      continue;
    }
    if (high < 0) {
      high = static_cast<int>(digit);
    } else {
      bytes.push_back(static_cast<char>(high << 4 | static_cast<int>(digit)));
      high = -1;
    }
  }
  return bytes;
}

std::vector<fs::path> FilesOf(const std::string& folder, const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(kGolden / folder)) {
    if (entry.path().extension() == extension) {
      files.push_back(entry.path());
    }
  }
  return files;
}

// "Frame-ops.txtpb" -> a new sluice.v1.Frame.
std::unique_ptr<google::protobuf::Message> NewMessage(const fs::path& file) {
  const std::string stem = file.stem().string();
  const std::string name = "sluice.v1." + stem.substr(0, stem.find('-'));
  const Descriptor* const descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  if (descriptor == nullptr) {
    ADD_FAILURE() << "no message " << name;
    return nullptr;
  }
  return std::unique_ptr<google::protobuf::Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
}

// Adds the full names of all fields that are set in `message`; fails for fields that no version of
// the .proto has.
void CollectFields(const google::protobuf::Message& message, std::set<std::string>* names) {
  EXPECT_TRUE(message.GetReflection()->GetUnknownFields(message).empty())
      << message.GetDescriptor()->full_name();
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    names->insert(field->full_name());
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      continue;
    }
    if (!field->is_repeated()) {
      CollectFields(message.GetReflection()->GetMessage(message, field), names);
      continue;
    }
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      CollectFields(message.GetReflection()->GetRepeatedMessage(message, field, i), names);
    }
  }
}

void AllFields(const Descriptor* descriptor, std::set<std::string>* names) {
  for (int i = 0; i < descriptor->field_count(); ++i) {
    names->insert(descriptor->field(i)->full_name());
  }
  for (int i = 0; i < descriptor->nested_type_count(); ++i) {
    AllFields(descriptor->nested_type(i), names);
  }
}

TEST(GoldenTest, MessagesAreReadAndWritten) {
  const auto files = FilesOf("messages", ".hex");
  EXPECT_GE(files.size(), 84U);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file);
    const auto golden = NewMessage(file);
    const auto expected = NewMessage(file);
    ASSERT_TRUE(golden != nullptr);
    const std::string bytes = ReadHex(file);
    ASSERT_TRUE(golden->ParseFromString(bytes));
    fs::path text = file;
    text.replace_extension(".txtpb");
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(Read(text), expected.get()));
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*golden, *expected));
    EXPECT_EQ(expected->SerializeAsString(), bytes);
  }
}

TEST(GoldenTest, EveryFieldOfEveryMessageIsInSomeFile) {
  std::set<std::string> covered;
  for (const fs::path& file : FilesOf("messages", ".hex")) {
    const auto golden = NewMessage(file);
    ASSERT_TRUE(golden != nullptr && golden->ParseFromString(ReadHex(file)));
    CollectFields(*golden, &covered);
  }
  std::set<std::string> all;
  for (const Descriptor* any :
       {v1::EntitySchema::descriptor(), v1::ChangeSet::descriptor(), v1::Frame::descriptor(),
        v1::SealedSecret::descriptor(), v1::OrgModelState::descriptor()}) {
    for (int i = 0; i < any->file()->message_type_count(); ++i) {
      AllFields(any->file()->message_type(i), &all);
    }
  }
  std::vector<std::string> missing;
  std::set_difference(all.begin(), all.end(), covered.begin(), covered.end(),
                      std::back_inserter(missing));
  EXPECT_THAT(missing, ::testing::IsEmpty());
}

TEST(GoldenTest, RowsAreReadAndWritten) {
  const auto files = FilesOf("rows", ".hex");
  EXPECT_GE(files.size(), 4U);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file);
    const std::string stem = file.stem().string();
    const auto schema =
        testing::MakeSchema(stem, Read(kGolden / "rows" / (stem + ".definition.json")));
    std::string json = Read(kGolden / "rows" / (stem + ".json"));
    json.pop_back();  // the end of the line
    const std::string bytes = ReadHex(file);
    RowEncoder encoder;
    EXPECT_EQ(ValueOrDie(encoder.Encode(*schema, json)).bytes, bytes);
    EXPECT_TRUE(ValidateRow(*schema, bytes).ok());
    std::string out;
    ASSERT_TRUE(AppendRowJson(*schema, bytes, {}, &out).ok());
    EXPECT_EQ(out, json);
  }
}

// The worked examples of schemas/docs/row-format.md are the golden rows of the account and of
// dates: each of their lines of bytes stands there, in order.
TEST(GoldenTest, TheDocumentedExamplesAreGoldenRows) {
  std::istringstream page(Read(fs::path(SLUICE_DOCS) / "row-format.md"));
  std::string bytes;
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("    | ", 0) == 0) {
      for (const char c : line.substr(6, line.find('|', 6) - 6)) {
        bytes += c == ' ' ? "" : std::string(1, c);
      }
    }
  }
  std::string golden =
      Read(kGolden / "rows" / "account.hex") + Read(kGolden / "rows" / "dates.hex");
  std::erase(golden, '\n');
  EXPECT_EQ(bytes, golden);
}

}  // namespace
}  // namespace sluice::schemas
