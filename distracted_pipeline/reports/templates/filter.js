"use strict";
const form = document.querySelector(".filter");
const cards = [...document.querySelectorAll(".cards > li")];
const status = document.querySelector("#shown");
const narrow = () => {
  const word = form.elements.word.value.trim().toLowerCase();
  const klass = form.elements.klass.value;
  const driver = form.elements.driver.value;
  const right = form.elements.right.value;
  let shown = 0;
  for (const card of cards) {
    const fits = (!klass || card.dataset.klass === klass) && (!driver || card.dataset.driver === driver)
      && (!right || card.dataset.right === right)
      && (!word || card.textContent.toLowerCase().includes(word));
    card.hidden = !fits;
    shown += fits;
  }
  status.textContent = `${shown} of ${cards.length} images`;
};
form.hidden = false;
form.addEventListener("input", narrow);
form.addEventListener("submit", (event) => event.preventDefault());
narrow();
