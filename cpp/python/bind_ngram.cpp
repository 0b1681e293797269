// The n-gram language model and the reader of its files.
#include "ops/ngram.h"

#include <pybind11/stl.h>

#include <memory>

#include "ops/arpa.h"
#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

constexpr const char* ngram_name = "NgramModel";

// A word's UTF-8; of one with a lone surrogate, which has none, a byte that no vocabulary has.
std::string_view text_of(py::handle word) {
  check_type(PyUnicode_Check(word.ptr()), ngram_name, "words", "be strings",
             [&] { return std::string(py::str(py::type::of(word).attr("__name__"))); });
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(word.ptr(), &size);
  if (text != nullptr) return {text, static_cast<std::size_t>(size)};
  PyErr_Clear();
  return "\xff";
}

Ngram::State checked_state(const Ngram& model, Ngram::State state) {
  check_value(
      state >= 0 && state < model.states(), ngram_name, "state",
      [&] { return "be in [0, " + std::to_string(model.states()) + ")"; }, state);
  return state;
}

py::tuple ngram_step(const Ngram& model, Ngram::State from, std::int32_t word) {
  Ngram::State to;
  const double log_p = model.step(checked_state(model, from), word, to);
  return py::make_tuple(log_p, to);
}

double ngram_score(const Ngram& model, const py::iterable& words, bool from_start, bool to_end) {
  Ngram::State state = from_start ? model.start() : model.empty();
  double log_p = 0;
  for (const py::handle word : words) log_p += model.step(state, model.index(text_of(word)), state);
  return to_end ? log_p + model.finish(state) : log_p;
}

py::list ngram_words(const Ngram& model) {
  const Vocabulary& vocabulary = model.vocabulary();
  py::list words(static_cast<std::size_t>(vocabulary.size()));
  for (std::int32_t i = 0; i < vocabulary.size(); ++i)
    words[static_cast<std::size_t>(i)] = py::str(vocabulary[i].data(), vocabulary[i].size());
  return words;
}

std::vector<std::int64_t> ngram_counts(const Ngram& model) {
  std::vector<std::int64_t> counts;
  for (std::int32_t n = 1; n <= model.order(); ++n) counts.push_back(model.size(n));
  return counts;
}

}  // namespace

void bind_ngram(py::module_& m) {
  py::class_<Ngram, std::shared_ptr<Ngram>>(m, "Ngram")
      .def_property_readonly("order", &Ngram::order)
      .def_property_readonly("counts", &ngram_counts)
      .def_property_readonly("states", &Ngram::states)
      .def("start", &Ngram::start)
      .def("empty", &Ngram::empty)
      .def("step", &ngram_step, py::arg("state"), py::arg("word"))
      .def(
          "finish",
          [](const Ngram& model, Ngram::State from) { return model.finish(checked_state(model, from)); },
          py::arg("state"))
      .def(
          "find", [](const Ngram& model, py::handle word) { return model.vocabulary().find(text_of(word)); },
          py::arg("word"))
      .def(
          "index", [](const Ngram& model, py::handle word) { return model.index(text_of(word)); },
          py::arg("word"))
      .def("words", &ngram_words)
      .def("score", &ngram_score, py::arg("words"), py::arg("from_start"), py::arg("to_end"));
  py::class_<ArpaReader>(m, "ArpaReader")
      .def(py::init<std::int64_t>(), py::arg("bytes"))
      .def(
          "feed",
          [](ArpaReader& reader, const py::bytes& piece) {
            const auto text = static_cast<std::string_view>(piece);
            const GilDropped dropped(static_cast<double>(text.size()));
            return reader.feed(text);
          },
          py::arg("piece"))
      .def("finish", [](ArpaReader& reader) {
        const py::gil_scoped_release dropped;
        return std::make_shared<Ngram>(reader.finish());
      });
}

}  // namespace fastseq
