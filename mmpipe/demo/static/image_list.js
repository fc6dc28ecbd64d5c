/** The pictures that are talked about: dropped, chosen, pasted or taken with the camera. Its value: [{path, name}]. */

import { Dropzone, fileUrl, node } from "./dropzone.js";
import { refusal } from "./record.js";

/** @param {HTMLElement} element @param {URL} root */
export function mount(element, root, { props, watch, trigger, upload }) {
  const zone = new Dropzone(element, {
    name: "Pictures",
    invitation: "Drop pictures here, or paste them",
    hint: props.hint,
    choose: "Choose pictures",
    accept: "image/*",
    multiple: true,
    upload,
    taken: (files) => {
      props.value = [...(props.value || []), ...files];
      trigger("upload");
    },
  });
  zone.button("Camera", () => takePhoto(zone));
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
    if (!files.length || !element.checkVisibility()) return;
    event.preventDefault();
    zone.take(files);
  });
  const show = () => {
    const pictures = props.value || [];
    zone.element.classList.toggle("mm-filled", pictures.length > 0);
    const list = node("ul", { class: "pic-list" });
    for (const picture of pictures) {
      const item = node("li");
      const remove = node("button", { type: "button", class: "mm-remove", "aria-label": `Take ${picture.name} away` }, "×");
      remove.addEventListener("click", () => {
        props.value = props.value.filter((other) => other !== picture && other.path !== picture.path);
        show();
      });
      item.append(node("img", { src: fileUrl(picture.path, root), alt: picture.name }), remove);
      list.append(item);
    }
    zone.content.replaceChildren(...(pictures.length ? [list] : []));
  };
  watch("value", show);
  show();
}

/** Show what the camera sees until the visitor takes the picture, or thinks better of it. @param {Dropzone} zone */
async function takePhoto(zone) {
  zone.problems.replaceChildren();
  let light;
  try {
    light = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    zone.complain(refusal(error, "camera"));
    return;
  }
  const dialog = node("dialog", { class: "pic-camera", "aria-label": "Camera" });
  const finder = node("video", { playsinline: "", muted: "" });
  finder.srcObject = light;
  const take = node("button", { type: "button", class: "mm-button mm-button-first" }, "Take the picture");
  const leave = node("button", { type: "button", class: "mm-button" }, "Cancel");
  const actions = node("div", { class: "mm-drop-actions" });
  actions.append(take, leave);
  dialog.append(finder, actions);
  zone.element.append(dialog);
  dialog.addEventListener("close", () => {
    for (const track of light.getTracks()) track.stop();
    dialog.remove();
  });
  leave.addEventListener("click", () => dialog.close());
  take.addEventListener("click", () => {
    const canvas = node("canvas");
    canvas.width = finder.videoWidth;
    canvas.height = finder.videoHeight;
    canvas.getContext("2d").drawImage(finder, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      zone.take([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
    }, "image/jpeg", 0.92);
  });
  dialog.showModal();
  await finder.play();
}
